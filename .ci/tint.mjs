// Makes a compute pipeline of every shader in a folder (see `dump` in tests/contract.rs) and reports what Tint or the
// pipeline's validation refuses. A variant that needs no extension is tried on a device that has none.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { create, globals } from "webgpu";

Object.assign(globalThis, globals);
const folder = process.argv[2];
const gpu = create(["backend=null"]);

// Adapters give one device each.
async function device(features) {
  const adapter = await gpu.requestAdapter();
  const missing = features.filter((feature) => !adapter?.features.has(feature));
  if (!adapter || missing.length) throw new Error(`no adapter with ${missing.join(", ") || "the null backend"}`);
  return adapter.requestDevice({ requiredFeatures: features });
}

const devices = new Map();
async function deviceFor(shader) {
  const features = [shader.f16 && "shader-f16", shader.subgroups && "subgroups"].filter(Boolean);
  const key = features.join();
  if (!devices.has(key)) devices.set(key, await device(features));
  return devices.get(key);
}

// What is wrong with a shader, one line each.
async function faults(device, { name, source, constants, written, params }) {
  const entry = (binding, buffer) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer });
  const entries = written.map((write, binding) => entry(binding, { type: write ? "storage" : "read-only-storage" }));
  entries.push(entry(written.length, { type: "uniform", minBindingSize: params }));

  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code: source, label: name });
  const { messages } = await module.getCompilationInfo();
  const found = messages.map(({ type, lineNum, linePos, message }) => `${type} ${lineNum}:${linePos} ${message}`);
  const layout = device.createPipelineLayout({ bindGroupLayouts: [device.createBindGroupLayout({ entries })] });
  try {
    await device.createComputePipelineAsync({ layout, compute: { module, entryPoint: "main", constants } });
  } catch (error) {
    found.push(`pipeline: ${error.message}`);
  }
  const error = await device.popErrorScope();
  if (error) found.push(error.message);
  return found;
}

// Faults that Tint must find, or its silence about the shaders would mean nothing.
const entry = "@compute @workgroup_size(WG) fn main(@builtin(local_invocation_index) i: u32)";
const head = "override WG: u32; @group(0) @binding(0) var<storage, read_write> v: array<f32>;";
const wrong = {
  "a barrier under a condition": `${head} ${entry} { if v[i] > 0.0 { workgroupBarrier(); } v[i] = 1.0; }`,
  "an extension that is not enabled": `${head} ${entry} { v[i] = subgroupAdd(v[i]); }`,
  "a subgroup operation under a condition": `enable subgroups; ${head} ${entry} { if v[i] > 0.0 { v[i] = subgroupAdd(v[i]); } }`,
  "too much workgroup memory": `${head} var<workgroup> t: array<f32, WG * 65>; ${entry} { t[i] = v[i]; v[i] = t[0]; }`,
};
for (const [name, source] of Object.entries(wrong)) {
  const subgroups = source.startsWith("enable subgroups;");
  const shader = { name, source, constants: { WG: 64 }, written: [true], params: 16, subgroups };
  if (!(await faults(await deviceFor(shader), shader)).length) throw new Error(`${name} was accepted`);
}

const files = readdirSync(folder).sort();
if (!files.length) throw new Error(`no shader in ${folder}`);
let refused = 0;
let left_out = 0;
for (const file of files) {
  const shader = JSON.parse(readFileSync(join(folder, file)));
  // No browser has cooperative matrices.
  if (shader.cooperative_matrix) {
    left_out += 1;
    continue;
  }
  const found = await faults(await deviceFor(shader), shader);
  if (found.length) {
    refused += 1;
    console.error(`${shader.name}\n  ${found.join("\n  ")}`);
  }
}
console.log(`${left_out} shaders need cooperative matrices and are for no browser: left out`);
console.log(`${files.length - left_out} shaders, ${refused} refused by Tint`);
// Dawn's threads would keep the process alive.
process.exit(refused ? 1 : 0);
