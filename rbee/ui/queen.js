// The queen's page: the fleet, every second, and a conversation with it.

import { age, at, get, poll, size, state, table, tiles } from "/ui/common.js";
import { chat } from "/ui/chat.js";

const HIVES = ["id", "state", "address", "devices", "memory free", "workers", "seen"];
const WORKERS = ["id", "model", "state", "hive", "device", "slots", "context", "seen"];
const MODELS = ["id", "size", "quant", "context", "hives", "workers"];

function hive({ hive, alive, age_s }) {
  const memory = `${size(hive.memory_free)} of ${size(hive.memory_total)}`;
  const devices = hive.devices.map((d) => d.name || d.id).join(", ");
  const cells = [hive.id, state(alive ? hive.state : "gone"), hive.url, devices, memory];
  return { key: hive.id, cells: [...cells, hive.workers.length, `${age(age_s)} ago`] };
}

function worker({ worker, alive, age_s }) {
  const cells = [worker.id, worker.model, state(alive ? worker.state : "gone"), worker.hive_id];
  const load = `${worker.busy} of ${worker.slots}`;
  return { key: worker.id, cells: [...cells, worker.device, load, worker.context, `${age(age_s)} ago`] };
}

function model(entry) {
  const where = [entry.hives.join(", "), entry.workers.join(", ")];
  const cells = [entry.id, size(entry.size), entry.quantisation, entry.context || "", ...where];
  return { key: entry.sha256 + entry.id, cells };
}

const talk = chat();

poll(async () => {
  const fleet = await get("/v1/status");
  const { waiting, leased, done } = fleet.queue;
  at("about").textContent = `${fleet.version} · up ${age(fleet.uptime_s)}`;
  tiles(at("queue"), [["waiting", waiting], ["running", leased], ["done", done]]);
  table(at("hives"), HIVES, fleet.hives.map(hive), "No hive yet. Add one: rbee serve --role hive --queen URL");
  table(at("workers"), WORKERS, fleet.workers.map(worker), "No worker; the first request starts one.");
  table(at("models"), MODELS, fleet.models.map(model), "No model is known.");
  talk.models(fleet.models.filter((entry) => !entry.problem).map((entry) => entry.id));
}, 1000);
