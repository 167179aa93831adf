// Filters the entries; what is chosen stands in the address after #, so that a link or a reload shows the same.
(() => {
  const form = document.querySelector(".tl-filters"), found = document.querySelector(".tl-found");
  const rows = [...document.querySelectorAll(".tl-row")], fields = ["tenant", "report", "status", "from", "to"];
  const choices = (list, pairs) => {
    for (const [value, text] of [...new Map(pairs)].sort((a, b) => a[1].localeCompare(b[1]))) list.append(new Option(text, value));
  };
  choices(form.querySelector("datalist"), rows.map((row) => [row.dataset.tenant, row.dataset.tenant]));
  choices(form.elements.report, rows.map((row) => [row.dataset.report, row.dataset.title]));
  choices(form.elements.status, rows.map((row) => [row.dataset.status, row.dataset.status]));
  const show = () => {
    const wanted = Object.fromEntries(fields.map((name) => [name, form.elements[name].value.trim()]));
    let count = 0;
    for (const row of rows) {
      const { tenant, report, status, day } = row.dataset;
      row.hidden = !(tenant.toLowerCase().includes(wanted.tenant.toLowerCase()) && (!wanted.report || report === wanted.report)
        && (!wanted.status || status === wanted.status) && (!wanted.from || day >= wanted.from) && (!wanted.to || day <= wanted.to));
      count += !row.hidden;
    }
    const given = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value)).toString();
    found.textContent = !given ? "" : count ? `Showing ${count} of ${rows.length}.` : "Nothing matches. Clear shows all again.";
    history.replaceState(null, "", given ? `#${given}` : location.pathname + location.search);
  };
  const read = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const name of fields) {
      form.elements[name].value = given.get(name) || "";
      if (form.elements[name].selectedIndex < 0) form.elements[name].selectedIndex = 0; // no such choice
    }
    show();
  };
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(show));
  window.addEventListener("hashchange", read);
  read();
})();
