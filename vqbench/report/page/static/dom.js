/** Builds an element: `true` sets a bare attribute, null and false leave one out; children are nodes or text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The same for pictures. */
function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
}

/** Words for who cannot see what is meant. */
function hiddenWords(text) {
  return make("span", { class: "unseen" }, text);
}

/** A button that does something on this page. */
function makeButton(text, action, attributes = {}) {
  const button = make("button", { type: "button", ...attributes }, text);
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") !== "true") action(button);
  });
  return button;
}

/** A control with its words before it. */
function labelled(text, control) {
  return make("label", { class: "control" }, make("span", {}, text), control);
}

/** A box to tick, with its words behind it. */
function tickBox(text, attributes = {}) {
  const box = make("input", { type: "checkbox", ...attributes });
  return [make("label", { class: "tick" }, box, make("span", {}, text)), box];
}

/** Fills a select with groups, `[name or null, [[value, text], …]]` each; `chosen` stays chosen where it is there. */
function fillSelect(select, groups, chosen) {
  const filled = groups.filter(([, options]) => options.length);
  select.replaceChildren(
    ...filled.flatMap(([name, options]) => {
      const made = options.map(([value, text]) => make("option", { value }, text));
      return name === null ? made : [make("optgroup", { label: name }, ...made)];
    }),
  );
  const values = filled.flatMap(([, options]) => options.map(([value]) => String(value)));
  select.value = values.includes(String(chosen)) ? chosen : (values[0] ?? "");
}

/** A table whose first column names its rows; cells are texts or nodes. */
function makeTable(caption, head, rows) {
  const cells = (row) => row.map((cell, at) => (at ? make("td", {}, cell) : make("th", { scope: "row" }, cell)));
  return make(
    "table",
    {},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells(row)))),
  );
}

/** A box in which something wide or long scrolls, by keyboard too. */
function scrollBox(name, ...children) {
  return make("div", { class: "wide", role: "region", tabindex: "0", "aria-label": name }, ...children);
}

/** A name that may break behind its dots, colons, slashes and underscores. */
function breakable(name) {
  const parts = name.split(/(?<=[.:/_])/);
  return make("span", {}, ...parts.flatMap((part, at) => (at ? [make("wbr"), part] : [part])));
}

/** A count with its thousands apart. */
function counted(n) {
  return n.toLocaleString("en");
}
