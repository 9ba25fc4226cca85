// A head sorts its column: from the start, the other way, then as printed. What has no number is last.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], printed = [...body.rows], heads = [...table.querySelectorAll("th[data-column]")];
  for (const head of heads) {
    const column = Number(head.dataset.column);
    const first = head.classList.contains("number") ? "descending" : "ascending";
    const next = { none: first, ascending: "descending", descending: "ascending", [first === "ascending" ? "descending" : "ascending"]: "none" };
    const numeric = printed.some((row) => row.cells[column].dataset.sort !== undefined);
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const order = next[head.getAttribute("aria-sort")];
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const value = (row) => Number(row.cells[column].dataset.sort ?? NaN);
      const text = (row) => row.cells[column].firstChild.textContent.trim();
      const compare = (a, b) => {
        if (!numeric) return sign * text(a).localeCompare(text(b));
        const [x, y] = [value(a), value(b)];
        return Number.isNaN(x) - Number.isNaN(y) || (Number.isNaN(x) ? 0 : sign * (x - y));
      };
      body.append(...(order === "none" ? printed : [...printed].sort(compare)));
    });
  }
}
