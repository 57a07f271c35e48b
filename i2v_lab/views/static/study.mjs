// What the wall and the charts of a study share. It stands after common.mjs and draw.mjs: no import, no export.

function three(value) { // three figures, and never a 0 that is not one
  const size = Math.abs(value);
  if (size < 1e-9) return "0";
  if (size < 0.001) return value < 0 ? ">\u00a0\u22120.001" : "<\u00a00.001";
  const text = value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : 3);
  return text.replace("-", "\u2212");
}

function counted(value) {
  const [by, name] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]].find(([by]) => value >= by * 0.9995) || [1, ""];
  return `${three(value / by)}\u00a0${name}`.trim();
}

// A value as a reader wants it; in a small place a unit is only as long as its sign.
function told(value, unit, short = false) {
  if (value == null) return "\u2013";
  if (unit === "s") return seconds(value);
  if (unit === "bytes") return `${mib(value)}\u00a0MiB`;
  if (unit === "operations") return counted(value);
  if (unit === "share" || !unit) return `${+value.toFixed(3)}`.replace("-", "\u2212");
  const sign = short ? (unit.startsWith("%") ? "%" : unit === "dB" ? "dB" : "") : unit;
  return `${three(value)}\u00a0${sign}`.trim();
}

// Round numbers within two ends that may be on either side of 0.
function marksBetween(low, high, count = 5) {
  const rough = (high - low) / count || 1, ten = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((k) => k * ten >= rough * 0.999) * ten, out = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) out.push(+v.toPrecision(10) + 0);
  return out;
}

// A list to choose from, in groups: [[title, [[value, text]]]]; a group without a title stands on its own.
function groupedPicker(label, onpick) {
  const select = element("select", { class: "i2v-select", "aria-label": label, onchange: () => onpick(select.value) });
  let known = "";
  return {
    node: element("label", { class: "i2v-picker" }, element("span", {}, label), select),
    fill(groups, value) {
      const now = JSON.stringify(groups);
      if (now !== known) {
        const option = ([v, text]) => element("option", { value: v }, text);
        select.replaceChildren(...groups.filter(([, options]) => options.length).flatMap(([title, options]) =>
          title ? [element("optgroup", { label: title }, ...options.map(option))] : options.map(option)));
      }
      known = now;
      select.value = value;
      select.disabled = select.options.length < 2;
    },
  };
}
