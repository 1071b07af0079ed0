/* What an operator does: one dialog asks, the answer is said, and an error stays in the dialog. */
let doing = null;

const ask = (question) => {
  doing = question;
  put($("ask-title"), question.title);
  put($("ask-text"), question.text);
  put($("ask-yes"), question.yes);
  $("ask-yes").classList.toggle("danger", Boolean(question.danger));
  $("ask-wrong").hidden = true;
  $("ask-extra").hidden = !question.extra;
  put($("ask-extra"), question.extra?.text || "");
  $("ask-fields").replaceChildren(...(question.fields || []).map((field) => {
    const id = `ask-${field.name}`;
    const input = el("input", { id, name: field.name, type: "number", min: field.min ?? 1, max: field.max, step: field.step ?? 1, inputmode: "numeric", placeholder: field.placeholder, value: field.value, required: field.required, "aria-describedby": field.hint ? `${id}-hint` : null });
    return el("div", { class: "field" }, el("label", { for: id, text: field.label }), input, field.hint ? el("span", { class: "soft", id: `${id}-hint`, text: field.hint }) : null);
  }));
  $("ask").showModal();
  ($("ask-fields").querySelector("input") || $("ask-yes")).focus();
};

const answers = () => Object.fromEntries([...$("ask-fields").querySelectorAll("input")].filter((input) => input.value !== "").map((input) => [input.name, Number(input.value)]));

const act = async (question, work) => {
  const buttons = [$("ask-yes"), $("ask-extra")];
  for (const button of buttons) button.disabled = true;
  try {
    const said = await work();
    if (doing === question) $("ask").close();
    const beside = said.shared_with?.length ? ` It holds for ${said.shared_with.join(", ")} too.` : "";
    const above = said.above_configured?.length ? ` Above what the file says: ${said.above_configured.map(words).join(", ")}.` : "";
    say(`${question.of ? `${question.of}: ` : ""}${said.did}.${beside}${above}`);
    if (said.deployment && cards.has(said.deployment.name)) drawCard(cards.get(said.deployment.name), said.deployment, lastAt);
  } catch (error) {
    if (error.status === 401) { $("ask").close(); askKey(error.message); return; }
    put($("ask-wrong"), error.message);
    $("ask-wrong").hidden = false;
  } finally {
    for (const button of buttons) button.disabled = false;
  }
};

$("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = doing;
  act(question, () => question.work(answers()));
});
$("ask-extra").addEventListener("click", () => { const question = doing; act(question, question.extra.work); });
$("ask-no").addEventListener("click", () => $("ask").close());
$("ask").addEventListener("close", () => { doing = null; });

const at = (name, action) => `admin/deployments/${encodeURIComponent(name)}/${action}`;
const rest = (d) => (d.fallback.length || d.group ? "They go to other members of its group or to its fallbacks, where there are healthy ones." : "It has no fallback: callers get the refusal.");

const askBreaker = (d) => {
  if (d.breaker.state === "CLOSED") {
    ask({
      of: d.name, title: `Open the circuit of ${d.name}?`, yes: "Open circuit", danger: true,
      text: `No new request is sent to it. ${rest(d)} What is in flight goes on.`,
      fields: [{ name: "for_s", label: "For how many seconds", value: "300", required: true, max: 604800 }],
      work: (told) => post(at(d.name, "breaker"), { action: "open", ...told }),
    });
    return;
  }
  ask({
    of: d.name, title: `Close the circuit of ${d.name}?`, yes: "Close circuit",
    text: "Requests are sent to it again at once, and it is judged anew.",
    fields: [{ name: "for_s", label: "Hold it closed for seconds", placeholder: "no", max: 604800, hint: "Held closed it lets everything through, whatever the provider answers." }],
    work: (told) => post(at(d.name, "breaker"), { action: "close", ...told }),
  });
};

const askService = (d) => {
  if (d.in_service) {
    ask({
      of: d.name, title: `Drain ${d.name}?`, yes: "Drain", danger: true,
      text: `It takes no new request and sends away the ${count(d.queued)} that wait. ${rest(d)} The ${count(d.busy)} in flight finish. It stays out of service until somebody resumes it.`,
      work: () => post(at(d.name, "drain"), { action: "drain" }),
    });
    return;
  }
  ask({ of: d.name, title: `Resume ${d.name}?`, yes: "Resume", text: "It takes requests again at once.", work: () => post(at(d.name, "drain"), { action: "resume" }) });
};

const askSession = (d) => ask({
  of: d.name, title: `Rebuild the session of ${d.name}?`, yes: "Rebuild",
  text: "Its secret is read again and its connections are made anew. What is in flight keeps the old ones and is not disturbed.",
  work: () => post(at(d.name, "rebuild-session"), {}),
});

const askLimits = (d) => {
  const inForce = Object.fromEntries(d.limits.windows.map((w) => [w.limit, w.most]));
  ask({
    of: d.name, title: `Limits of ${d.name}`, yes: "Set limits",
    text: `What is left empty is as the file has it. What was sent keeps counting. They may be above those of the file; the provider's own hold all the same.${d.limit_group ? ` They hold for the limit group ${d.limit_group}.` : ""}`,
    fields: [
      ...Object.entries(d.limits.configured).map(([name, value]) => ({
        name, label: words(name), placeholder: value === null ? "none" : String(value), value: d.limits.changed.includes(name) && d.keys.length < 2 ? String(inForce[name] ?? "") : null,
      })),
      { name: "for_s", label: "For how many seconds", placeholder: "until reset", value: "900", max: 604800, hint: "Empty: until somebody resets them, or the configuration is read again." },
    ],
    work: (told) => post(at(d.name, "limits"), { action: "set", ...told }),
    extra: d.limits.changed.length ? { text: "Reset to the file", work: () => post(at(d.name, "limits"), { action: "reset" }) } : null,
  });
};

$("reload").addEventListener("click", () => ask({
  title: "Reload the configuration?", yes: "Reload",
  text: "The project file is read again. A bad one changes nothing, and what is wrong with it is said here.",
  work: () => post("admin/reload", {}),
}));

const drawDemo = (demo) => {
  $("demo").hidden = !demo;
  if (!demo) return;
  const buttons = $("demo-buttons");
  for (const [name, broken] of Object.entries(demo.providers)) {
    let button = [...buttons.children].find((each) => each.dataset.name === name);
    if (!button) {
      button = el("button", { type: "button", "data-name": name, onclick: async () => {
        const mend = button.getAttribute("aria-pressed") === "true";
        button.disabled = true;
        try { say(`${(await post("admin/demo", { provider: name, action: mend ? "mend" : "break" })).did}.`); } catch (error) { say(error.message); }
        button.disabled = false;
      } });
      buttons.append(button);
    }
    set(button, "aria-pressed", String(broken));
    put(button, `${broken ? "Mend" : "Break"} ${name}`);
  }
};
