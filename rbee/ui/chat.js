// A conversation in OpenAI's dialect, streamed. One answer at a time; the button then stops it.

import { at, el, reason } from "/ui/common.js";

export function chat() {
  const [form, talk, picker, text, send] = ["ask", "talk", "model", "text", "send"].map(at);
  let turns = [];
  let running = null;

  function say(className, words) {
    talk.querySelector(".empty")?.remove();
    const line = el("p", className, words);
    talk.append(line);
    talk.scrollTop = talk.scrollHeight;
    return line;
  }

  async function turn(question) {
    const asked = [...turns, { role: "user", content: question }];
    say("user", question);
    const line = say("", "…");
    running = new AbortController();
    send.textContent = "Stop";
    let answer = "";
    try {
      for await (const part of answers(picker.value, asked, running.signal)) {
        answer += part;
        line.textContent = answer;
        talk.scrollTop = talk.scrollHeight;
      }
      if (!answer) line.textContent = "(an empty answer)";
    } catch (error) {
      if (!answer) line.remove();
      if (error.name !== "AbortError") say("bad", error.message);
    }
    if (answer) turns = [...asked, { role: "assistant", content: answer }];
    running = null;
    send.textContent = "Send";
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) {
      running.abort();
      return;
    }
    const question = text.value.trim();
    text.value = "";
    if (question) turn(question);
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!running) form.requestSubmit();
    }
  });
  at("reset").addEventListener("click", () => {
    running?.abort();
    turns = [];
    talk.replaceChildren(el("p", "empty", "Forgotten."));
  });

  return {
    /** Offer these models; the choice stays where it is. */
    models(ids) {
      const names = ids.length ? ids : ["bee"];
      const now = [...picker.options].map((option) => option.value);
      if (now.join("\n") === names.join("\n")) return;
      const chosen = picker.value || "bee";
      picker.replaceChildren(...names.map((name) => new Option(name, name)));
      picker.value = names.includes(chosen) ? chosen : names[0];
    },
  };
}

/** The pieces of an answer; throws the sentence of an error, also of one in the middle. */
async function* answers(model, messages, signal) {
  const response = await fetch("/openai/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ model, messages, stream: true }),
    signal,
  });
  if (!response.ok) throw new Error(await reason(response));
  for await (const data of frames(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Error(chunk.error.message);
    const part = chunk.choices?.[0]?.delta?.content;
    if (part) yield part;
  }
  throw new Error("The answer broke off.");
}

/** The `data:` of each server-sent event. */
async function* frames(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const lines = part.split("\n").filter((line) => line.startsWith("data:"));
      if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
    }
  }
}
