// The worker's page: its own heartbeat, every second.

import { age, at, get, poll, size, table, tiles } from "/ui/common.js";

poll(async () => {
  const beat = await get("/v1/status");
  at("about").textContent = `${beat.id} · ${beat.version} · ${beat.state}`;
  tiles(at("load"), [
    ["busy slots", `${beat.busy} of ${beat.slots}`],
    ["waiting", beat.waiting],
    ["engine steps", beat.step],
    ["memory", size(beat.rss_bytes)],
  ]);
  const facts = {
    model: beat.model,
    sha256: beat.sha256,
    device: beat.device,
    "context of a slot": `${beat.context} tokens`,
    "current step": beat.step_age_s ? `since ${age(beat.step_age_s)}` : "idle",
    hive: beat.hive_id || "none",
    jobs: beat.jobs.join(", ") || "none",
  };
  const rows = Object.entries(facts).map(([name, value]) => ({ key: name, cells: [name, value] }));
  table(at("facts"), ["", ""], rows, "");
}, 1000);
