"use strict";

const HEALTH_EVERY = 10_000; // milliseconds
const byId = (id) => document.getElementById(id);
let asking = null; // what ends the answer that is under way

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text; // as text: an answer is never taken for HTML
  return made;
}

/** Add one turn of the conversation; the paragraph that holds what was said. */
function addTurn(speaker, text) {
  const paragraph = element("p", text);
  byId("conversation").append(element("h3", speaker), paragraph);
  paragraph.scrollIntoView({ block: "nearest" });
  return paragraph;
}

/** The server-sent events of a response, each as its name and its data. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let read = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (read + value).split("\n\n");
    read = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: ?(.*)/s)));
      if (fields.data) yield { name: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

/** What the answer cost, and where it came from. */
function summary(answer) {
  const tokens = answer.usage.prompt_tokens + answer.usage.completion_tokens;
  const cost = answer.cost_usd === null ? "no price known" : `$${answer.cost_usd}`;
  const from = answer.documents.length ? `, from ${answer.documents.join(", ")}` : "";
  return `Answered by ${answer.model}: ${tokens} tokens, ${cost}${answer.cached ? ", from the cache" : ""}${from}.`;
}

/** Ask; show the answer as it comes. Throws an Error that says why there is none. */
async function ask(message, paragraph, signal) {
  const headers = { "Content-Type": "application/json" };
  const key = byId("key").value.trim();
  if (key) headers.Authorization = `Bearer ${key}`;
  const body = JSON.stringify({ message, stream: true });
  const response = await fetch("/api/chat", { method: "POST", headers, body, signal });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail ?? `The server answered with status ${response.status}.`);
  }
  for await (const { name, data } of events(response)) {
    if (name === "piece") paragraph.textContent += data.text;
    if (name === "done") return summary(data);
    if (name === "error") throw new Error(data.detail);
  }
  throw new Error("The answer broke off.");
}

async function send(event) {
  event.preventDefault();
  const message = byId("message").value.trim();
  if (!message || asking) return;
  asking = new AbortController();
  byId("ask").disabled = true;
  byId("stop").disabled = false;
  byId("progress").textContent = "Waiting for the answer";
  // A screen reader reads the answer when it is whole, not word by word.
  byId("conversation").setAttribute("aria-busy", "true");
  addTurn("You", message);
  const paragraph = addTurn("Answer", "");
  try {
    byId("progress").textContent = await ask(message, paragraph, asking.signal);
    byId("message").value = "";
  } catch (error) {
    byId("progress").textContent = error.name === "AbortError" ? "Stopped." : `No answer: ${error.message}`;
  } finally {
    asking = null;
    byId("ask").disabled = false;
    byId("stop").disabled = true;
    byId("conversation").removeAttribute("aria-busy");
    byId("message").focus();
  }
}

function showHealth(status, components) {
  const line = byId("health");
  if (line.textContent !== status) line.textContent = status; // said aloud when it changes
  const rows = Object.entries(components).map(([name, component]) => {
    const row = document.createElement("tr");
    const head = element("th", name);
    head.scope = "row";
    const latency = component.latency_ms === null ? "" : `${component.latency_ms} ms`;
    row.append(head, ...[component.status, latency, component.reason ?? ""].map((text) => element("td", text)));
    return row;
  });
  byId("components").replaceChildren(...rows);
}

async function refreshHealth() {
  try {
    const health = await (await fetch("/health")).json();
    showHealth(health.status, health.components);
  } catch {
    showHealth("no answer", {});
  } finally {
    setTimeout(refreshHealth, HEALTH_EVERY);
  }
}

byId("question-form").addEventListener("submit", send);
byId("stop").addEventListener("click", () => asking?.abort());
byId("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId("question-form").requestSubmit();
  }
});
refreshHealth();
