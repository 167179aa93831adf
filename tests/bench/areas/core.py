"""The start: `import tenant_lab` in a fresh interpreter stays under half a second."""
from case import Case

CASES = [
    Case("import tenant_lab", ours="def work(data):\n    import tenant_lab\n", limit=0.5, whole=True),
]
