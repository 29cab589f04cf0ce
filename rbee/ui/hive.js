// The hive's page: its workers, which can be stopped, and its models, which can be started
// unless their file cannot be used: then the page says why.

import { age, at, get, operate, poll, size, state, table } from "/ui/common.js";

const WORKERS = ["id", "model", "state", "address", "device", "slots", "memory", "up", "why", ""];
const MODELS = ["id", "size", "quant", "context", "sha256", "loaded by", ""];
const SPAWN_LIMIT_MS = 600_000;
const STOP_LIMIT_MS = 30_000;

function worker(process) {
  const id = process.worker_id;
  const load = process.slots || "";
  const cells = [id, process.model, state(process.state), process.url, process.device, load];
  const times = [size(process.rss_bytes), age(process.uptime_s), process.reason];
  const stop = async () => {
    await operate({ operation: "worker_process_delete", worker_id: id }, STOP_LIMIT_MS);
    await again();
  };
  return { key: id, cells: [...cells, ...times, { button: "Stop", act: stop }] };
}

function model(entry) {
  const cells = [entry.id, size(entry.size), entry.quantisation, entry.context || ""];
  const more = [entry.sha256.slice(0, 12) || "being read", entry.loaded_by.join(", ")];
  const start = async () => {
    await operate({ operation: "worker_spawn", model: entry.id }, SPAWN_LIMIT_MS);
    await again();
  };
  const last = entry.problem
    ? { text: entry.problem, className: "bad" }
    : { button: "Start a worker", act: start };
  return { key: entry.id, cells: [...cells, ...more, last] };
}

const again = poll(async () => {
  const [hive, workers, models] = await Promise.all([
    get("/v1/status"),
    operate({ operation: "worker_process_list" }),
    operate({ operation: "model_list" }),
  ]);
  const devices = hive.devices.map((device) => device.name || device.id).join(", ");
  const memory = `${size(hive.memory_free)} of ${size(hive.memory_total)} free`;
  at("about").textContent = `${hive.id} · ${hive.version} · ${devices} · ${memory}`;
  table(at("workers"), WORKERS, workers.workers.map(worker), "No worker runs here.");
  table(at("models"), MODELS, models.models.map(model), "No model lies here.");
}, 1500);
