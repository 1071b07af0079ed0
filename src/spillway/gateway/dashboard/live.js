/* The stream of events: read by fetch, because it must carry the key; begun again, ever more slowly, when it ends. */
const SILENCE_MS = 8000;
const SLOWEST_S = 30;
let tries = 0;
let lastAt = Date.now() / 1000;
let state = null;
let attempt = null;
let waiting = 0;

/* What changes each second stands beside the words that are read out. */
const linkSays = (kind, text, live = false, more = "") => {
  put($("link-more"), more);
  set($("link"), "data-kind", kind);
  put($("link-says"), text);
  $("link").classList.toggle("live", live);
  $("board").classList.toggle("stale", kind === "bad");
};

const askKey = (wrong) => {
  attempt?.abort();
  clearTimeout(waiting);
  keepKey(null);
  $("board").hidden = true;
  $("key-form").hidden = false;
  $("again").hidden = true;
  $("key-wrong").hidden = !wrong;
  put($("key-wrong"), wrong || "");
  linkSays("idle", "Locked");
  $("key").value = "";
  $("key").focus();
};

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey($("key").value.trim());
  $("key").value = "";
  connect();
});
$("forget").addEventListener("click", () => askKey(""));
$("again").addEventListener("click", () => { tries = 0; connect(); });
addEventListener("online", () => { if (!$("again").hidden) connect(); });

const HEARD = {
  hello(told) {
    forgetHistory();
    keepHistory(told.history);
    keepRequests(told.requests, true);
    keepEntries(told.journal, true);
    put($("foot"), `Spillway ${told.version}. Times are this browser's.`);
  },
  state(told) {
    state = told;
    lastAt = told.at;
    keepHistory(told.history);
    draw();
    const gateway = told.gateway;
    linkSays(gateway.draining ? "warm" : gateway.ready ? "well" : "warm", gateway.draining ? "Stopping" : gateway.ready ? "Live" : "Live, no deployment can serve", true);
    $("reload").hidden = !gateway.reloads;
    drawDemo(gateway.demo);
  },
  requests(told) { keepRequests(told.requests); },
  journal(told) { keepEntries(told); },
  bye() { linkSays("warm", "The gateway is about to stop"); },
};

const draw = () => {
  if (!state) return;
  drawTiles(state);
  drawPlots(state.at);
  drawDeployments(state.deployments, state.at);
  drawKeys(state.keys);
};
$("of").addEventListener("change", draw);
$("numbers").addEventListener("toggle", draw);

const connect = async () => {
  clearTimeout(waiting);
  attempt?.abort();
  const mine = new AbortController();
  attempt = mine;
  $("again").hidden = true;
  if (!state) linkSays("idle", "Connecting");
  let trouble = "Connection lost";
  let silence = 0;
  const heard = () => { clearTimeout(silence); silence = setTimeout(() => mine.abort(), SILENCE_MS); };
  try {
    heard();
    const answer = await fetch("admin/events", { headers: headers({ accept: "text/event-stream" }), signal: mine.signal, cache: "no-store" });
    if (answer.status === 401) {
      clearTimeout(silence);
      askKey(adminKey ? "This key is not valid." : "");
      return;
    }
    if (!answer.ok) {
      const said = await answer.json().catch(() => null);
      throw new Error(said?.error?.message || `The gateway answers ${answer.status}`);
    }
    const wasLocked = !$("key-form").hidden;
    $("key-form").hidden = true;
    $("board").hidden = false;
    if (wasLocked) $("main").focus();
    await listen(answer.body, heard, mine);
  } catch (error) {
    if (error instanceof Error && error.name === "Error") trouble = error.message;
  }
  clearTimeout(silence);
  if (attempt === mine) later(trouble);
};

const listen = async (body, heard, mine) => {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done || attempt !== mine) return;
    heard();
    tries = 0;
    rest += value;
    const frames = rest.split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const name = /^event: (.*)$/m.exec(frame)?.[1];
      const data = /^data: (.*)$/m.exec(frame)?.[1];
      if (name in HEARD && data) HEARD[name](JSON.parse(data));
    }
  }
};

const later = (trouble) => {
  const wait = Math.min(SLOWEST_S, 2 ** tries) * (0.75 + Math.random() / 2);
  tries += 1;
  $("again").hidden = false;
  const until = Date.now() + wait * 1000;
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    if (left <= 0) { connect(); return; }
    linkSays("bad", trouble, false, `next try in ${left} s`);
    waiting = setTimeout(tick, Math.min(1000, until - Date.now()));
  };
  tick();
};

put($("where"), location.host);
connect();
