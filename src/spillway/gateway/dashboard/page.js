const root = document.documentElement;
const $ = (id) => document.getElementById(id);

/* An element: attributes (properties for on…, text for its content), then children. */
const el = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
};
const svgEl = (tag, attributes = {}) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};
const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const set = (node, name, value) => { if (node.getAttribute(name) !== value) node.setAttribute(name, value); };

/* Numbers in words. */
const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const count = (n) => (n === null || n === undefined ? NONE : whole.format(n));
const short = (n) => {
  if (n === null || n === undefined) return NONE;
  for (const [size, sign] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(n) >= size * 10 || (sign !== "k" && Math.abs(n) >= size)) return `${(n / size).toFixed(n / size < 10 ? 2 : n / size < 100 ? 1 : 0)}${sign}`;
  }
  return whole.format(n);
};
const rate = (n) => (n >= 100 ? count(n) : n >= 10 ? n.toFixed(1) : n.toFixed(2));
const seconds = (s) => {
  if (s === null || s === undefined) return NONE;
  if (s === 0) return "0 s";
  if (s < 0.001) return `${(s * 1e6).toFixed(0)} µs`;
  if (s < 0.01) return `${(s * 1000).toFixed(1)} ms`;
  if (s < 0.9995) return `${(s * 1000).toFixed(0)} ms`;
  return s < 99.5 ? `${s.toFixed(2)} s` : span(s);
};
const span = (s) => {
  s = Math.max(0, Math.round(s));
  if (s < 60) return `${s} s`;
  const two = (n) => String(n).padStart(2, "0");
  if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)} h`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
};
const usd = (n) => {
  if (n === null || n === undefined) return "unknown";
  if (n === 0) return "$0";
  if (Math.abs(n) >= 1000) return `$${whole.format(n)}`;
  return `$${n.toFixed(Math.abs(n) >= 1 ? 2 : Math.abs(n) >= 0.01 ? 4 : 6)}`;
};
/* As much as a glance takes. */
const about = (n) => (n && Math.abs(n) < 0.01 ? (n < 0.0001 ? "<$0.0001" : `$${n.toFixed(4)}`) : n && Math.abs(n) < 1000 ? `$${n.toFixed(2)}` : usd(n));
const share = (part, all) => {
  if (!all) return NONE;
  const percent = (part / all) * 100;
  if (percent === 0 || percent === 100) return `${percent}%`;
  return `${Math.min(99.99, percent).toFixed(percent > 99.9 || percent < 0.1 ? 2 : 1)}%`;
};
const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");
const words = (name) => name.replaceAll("_", " ");
const perMinute = (option) => (option === "concurrent_requests" ? "at once" : words(option).replace(" per minute", "/min"));
const KIND_WORDS = { ok: "ok", limited: "limited", refused: "refused", failed: "failed", left: "caller left" };
const KINDS = Object.keys(KIND_WORDS);

/* Light and dark. */
const dark = matchMedia("(prefers-color-scheme: dark)");
const stored = {
  get(name) { try { return sessionStorage.getItem(name); } catch { return null; } },
  put(name, value) { try { if (value === null) sessionStorage.removeItem(name); else sessionStorage.setItem(name, value); } catch { /* kept for this page only */ } },
};
const shownTheme = () => root.dataset.theme || (dark.matches ? "dark" : "light");
const nameTheme = () => put($("theme"), shownTheme() === "dark" ? "Light" : "Dark");
if (stored.get("spillway-theme")) root.dataset.theme = stored.get("spillway-theme");
$("theme").addEventListener("click", () => {
  root.dataset.theme = shownTheme() === "dark" ? "light" : "dark";
  stored.put("spillway-theme", root.dataset.theme);
  nameTheme();
});
dark.addEventListener("change", nameTheme);
nameTheme();

/* The admin key: in this tab only. */
let adminKey = stored.get("spillway-admin-key");
const keepKey = (key) => {
  adminKey = key;
  stored.put("spillway-admin-key", key);
  $("forget").hidden = !key;
};
$("forget").hidden = !adminKey;
const headers = (more = {}) => (adminKey ? { ...more, authorization: `Bearer ${adminKey}` } : more);

/* Results are said where eyes and screen readers find them. */
let saidTimer = 0;
const say = (text) => {
  const said = $("said");
  said.hidden = false;
  put(said, text);
  clearTimeout(saidTimer);
  saidTimer = setTimeout(() => { said.hidden = true; said.textContent = ""; }, 6000);
};

/* Asks an operator's route; what it refuses becomes an Error with the gateway's own words. */
const post = async (path, body) => {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", headers: headers({ "content-type": "application/json" }), body: JSON.stringify(body) });
  } catch {
    throw new Error("The gateway can't be reached. Nothing may have been done.");
  }
  const said = await answer.json().catch(() => null);
  if (answer.ok) return said;
  const error = new Error(said?.error?.message || `The gateway answers ${answer.status}.`);
  error.status = answer.status;
  throw error;
};
