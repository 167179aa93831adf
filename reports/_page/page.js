// Unpacks the plotting library that the page carries, then draws each picture in the page's colours and width.
(async () => {
  const packed = document.getElementById("tl-plotly");
  if (!packed) return;
  const bytes = Uint8Array.from(atob(packed.textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.appendChild(script);
  const plots = [...document.querySelectorAll(".tl-plot")];
  const ink = () => getComputedStyle(document.documentElement).getPropertyValue("--quiet").trim();
  const draw = async (plot) => {
    const spec = JSON.parse(plot.querySelector("script").textContent);
    const layout = structuredClone(spec.layout), base = layout.height || 340;
    plot.replaceChildren();
    const named = spec.data.filter((trace) => trace.name && trace.showlegend !== false).length;
    const legend = named > 1 && layout.showlegend !== false;
    const fit = () => {
      const narrow = plot.clientWidth < 560, top = 10 + (legend ? (narrow ? 20 * named : 26) : 0);
      const changes = { "font.color": ink(), autosize: true, "margin.t": top, height: base - 44 + top };
      if (layout.xaxis && layout.xaxis.nticks) changes["xaxis.nticks"] = narrow ? 5 : layout.xaxis.nticks;
      if (legend) Object.assign(changes, { "legend.x": 0, "legend.xanchor": "left", "legend.y": 1, "legend.yanchor": "bottom",
        "legend.orientation": narrow ? "v" : "h" });
      return changes;
    };
    // the figures inside a heat map's cells need room
    for (const trace of spec.data) if (trace.type === "heatmap" && plot.clientWidth < 560) Object.assign(trace, { texttemplate: "", showscale: false });
    layout.autosize = true;
    const fitted = structuredClone(layout);
    for (const [path, value] of Object.entries(fit())) {
      const names = path.split("."), last = names.pop();
      names.reduce((part, name) => (part[name] ??= {}), fitted)[last] = value;
    }
    await Plotly.newPlot(plot, spec.data, fitted, { responsive: true, displaylogo: false, displayModeBar: false });
    let width = plot.clientWidth;
    const again = () => { if (plot.clientWidth !== width) { width = plot.clientWidth; Plotly.relayout(plot, fit()); } };
    window.addEventListener("resize", again);
    window.addEventListener("beforeprint", () => Plotly.Plots.resize(plot));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Plotly.relayout(plot, fit()));
  };
  // one that cannot be drawn costs the reader no other
  for (const plot of plots) await draw(plot).catch((error) => { plot.textContent = `This picture cannot be drawn: ${error.message || error}`; });
  document.documentElement.dataset.drawn = plots.length;
})();
