// Lists of class "leaves" show ten entries at a time. Without this script they stand whole.
for (const list of document.querySelectorAll("ol.leaves")) {
  const size = 10, entries = [...list.children], last = Math.ceil(entries.length / size) - 1;
  if (last < 1) continue;
  let leaf = 0;
  const bar = document.createElement("p"), place = document.createElement("span");
  const turn = (by) => {
    leaf = Math.min(last, Math.max(0, leaf + by));
    entries.forEach((one, i) => { one.hidden = Math.floor(i / size) !== leaf; });
    list.start = leaf * size + 1;
    place.textContent = ` ${leaf + 1} of ${last + 1} `;
    back.disabled = leaf === 0;
    on.disabled = leaf === last;
  };
  const button = (text, by) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", () => turn(by));
    return made;
  };
  const back = button("previous", -1), on = button("next", 1);
  place.setAttribute("aria-live", "polite");
  bar.className = "bar";
  bar.append(back, place, on);
  list.before(bar);
  turn(0);
  // on paper nothing can be turned
  window.addEventListener("beforeprint", () => entries.forEach((one) => { one.hidden = false; }));
  window.addEventListener("afterprint", () => turn(0));
}
