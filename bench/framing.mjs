// Framing: nanoseconds to cut a chunk into packets, validate them and find their fields.
//   node bench/framing.mjs [--json] [--budget]
// The core against mqtt-packet's parser, over the same chunks: one packet, and 64 KiB of packets.
// The core's time includes the copy of the chunk into linear memory. The two do not give the same
// thing: the core leaves offsets, mqtt-packet makes an object of every packet, and checks less.
// Medians of eleven rounds with min..max; run it alone on the machine. `--budget` fails when the
// core is slower than the budget of a row (absolute figures of one machine, so with room).
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { answerHelp } from './load/words.mjs';

answerHelp(import.meta.url);

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    budget: { type: 'boolean', default: false },
  },
});
const ROOT = join(import.meta.dirname, '..');
const mqttPacket = createRequire(import.meta.url)('mqtt-packet');
const CHUNK_BYTES = 65_536;
const ROUNDS = 11;
const WARM_UP_ROUNDS = 3;
const ROUND_NS = 30e6;
const now = () => Number(process.hrtime.bigint());

const TOPIC = 'site/12/device-345/temperature';
const userProperties = { tenant: 'blue', trace: '00-4bf92f3577b34da6a3ce929d0e0e4736' };
const publish = (more) =>
  ({ cmd: 'publish', topic: TOPIC, payload: 'x'.repeat(16), qos: 0, ...more });
// Budget: nanoseconds per packet in a full chunk, about four times what was measured.
const ROWS = [
  { name: 'PUBLISH 16 B QoS 0, 3.1.1', version: 4, packet: publish({}), budgetNs: 60 },
  { name: 'PUBLISH 64 B QoS 1, 3.1.1', version: 4, budgetNs: 60,
    packet: publish({ qos: 1, messageId: 7, payload: 'x'.repeat(64) }) },
  { name: 'PUBLISH, topic not ASCII, 3.1.1', version: 4, budgetNs: 100,
    packet: publish({ topic: 'gebäude/12/gerät-345/außentemperatur' }) },
  { name: 'PUBLISH 16 B QoS 0, 5.0', version: 5, packet: publish({}), budgetNs: 60 },
  { name: 'PUBLISH with 2 user properties, 5.0', version: 5, budgetNs: 150,
    packet: publish({ properties: { userProperties } }) },
  { name: 'PUBLISH with properties to gather, 5.0', version: 5, budgetNs: 900,
    packet: publish({ properties: {
      payloadFormatIndicator: true, messageExpiryInterval: 60, contentType: 'text/plain',
      topicAlias: 3, userProperties,
    } }) },
  { name: 'PUBACK, 3.1.1', version: 4, packet: { cmd: 'puback', messageId: 7 }, budgetNs: 45 },
];

function compile() {
  mkdirSync(join(ROOT, 'build'), { recursive: true });
  const folder = mkdtempSync(join(ROOT, 'build', 'framing-'));
  const out = join(folder, 'codec.wasm');
  const asc = join(ROOT, 'node_modules/assemblyscript/bin/asc.js');
  const entry = 'test/core/entries/codec.entry.ts';
  const flags = ['--target', 'release', '-o', out, '-t', join(folder, 'codec.wat')];
  try {
    execFileSync(process.execPath, [asc, entry, ...flags], { cwd: ROOT, stdio: 'pipe' });
    return new WebAssembly.Module(readFileSync(out));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function openCore() {
  const env = { abort: () => { throw new Error('abort'); } };
  const core = new WebAssembly.Instance(compile(), { env }).exports;
  core.memory.grow(4);
  const at = core.inputAt();
  const memory = new Uint8Array(core.memory.buffer);
  return (chunk, version) => {
    memory.set(chunk, at);
    return core.countPackets(at, at + chunk.length, version);
  };
}

/** Nanoseconds per packet of `parse`, which answers how many packets it found. */
function measure(packets, parse) {
  const round = (repeats) => {
    let found = 0;
    const start = now();
    for (let i = 0; i < repeats; i++) found += parse();
    const elapsed = now() - start;
    if (found !== packets * repeats) throw new Error(`${found} packets, not ${packets * repeats}`);
    return elapsed;
  };
  const repeats = Math.max(1, Math.round(ROUND_NS / (round(8) / 8)));
  const samples = [];
  for (let i = 0; i < ROUNDS + WARM_UP_ROUNDS; i++) {
    const elapsed = round(repeats);
    if (i >= WARM_UP_ROUNDS) samples.push(elapsed / (repeats * packets));
  }
  samples.sort((a, b) => a - b);
  const tidy = (value) => Math.round(value * 10) / 10;
  return {
    median: tidy(samples[ROUNDS >> 1]), min: tidy(samples[0]), max: tidy(samples.at(-1)),
  };
}

function peerParser(version) {
  const parser = mqttPacket.parser({ protocolVersion: version });
  let found = 0;
  parser.on('packet', () => { found++; });
  parser.on('error', (error) => { throw error; });
  return (chunk) => {
    found = 0;
    parser.parse(chunk);
    return found;
  };
}

const core = openCore();
const rows = ROWS.map(({ name, version, packet, budgetNs }) => {
  const one = mqttPacket.generate(packet, { protocolVersion: version });
  const packets = Math.floor(CHUNK_BYTES / one.length);
  const full = Buffer.concat(Array(packets).fill(one));
  const peer = peerParser(version);
  return {
    name, packetBytes: one.length, packetsPerChunk: packets, budgetNs,
    coreNs: measure(packets, () => core(full, version)),
    coreAloneNs: measure(1, () => core(one, version)),
    peerNs: measure(packets, () => peer(full)),
    peerAloneNs: measure(1, () => peer(one)),
  };
});

if (values.json) {
  console.log(JSON.stringify({ bench: 'framing', node: process.version, rows }, null, 2));
} else {
  const spread = ({ median, min, max }) => `${median} ns (${min}..${max})`;
  for (const row of rows) {
    console.log(`${row.name} (${row.packetBytes} B)`);
    console.log(`  core         ${spread(row.coreNs)}, alone ${spread(row.coreAloneNs)}`);
    console.log(`  mqtt-packet  ${spread(row.peerNs)}, alone ${spread(row.peerAloneNs)}`);
  }
}
const slow = values.budget ? rows.filter((row) => row.coreNs.median > row.budgetNs) : [];
for (const row of slow) {
  console.error(`${row.name}: ${row.coreNs.median} ns a packet, the budget is ${row.budgetNs} ns`);
}
if (slow.length > 0) process.exitCode = 1;
