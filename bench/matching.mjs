// Matching: the core's index against qlobber, with 1,000 to 1,000,000 filters.
//   node bench/matching.mjs [--json] [--filters 1000,100000] [--without-qlobber]
// Filters are a mix that sensors make: 60 % exact, 40 % with wildcards, one subscription each. Per
// row: nanoseconds for a topic that was never met (another is evicted, it is interned, matched,
// merged), for one that is known but whose result is not valid any more (*uncached*), for one that
// is cached, and for interning alone; bytes per filter; the same for qlobber. Medians of seven
// rounds with min..max; run it alone on the machine.
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
    filters: { type: 'string', default: '1000,100000,1000000' },
    'without-qlobber': { type: 'boolean', default: false },
  },
});
const ROOT = join(import.meta.dirname, '..');
const MEMORY_RECORD = 0;
const MEMORY_RETAINED = 3;
const MEMORY_INDEX = 4;
const ROUNDS = 7;
const TOPICS = 65_536; // distinct topics that are asked for
const HOT = 256; // of these in the cached rows
const now = () => Number(process.hrtime.bigint());

function compile() {
  mkdirSync(join(ROOT, 'build'), { recursive: true });
  const folder = mkdtempSync(join(ROOT, 'build', 'matching-'));
  const out = join(folder, 'index.wasm');
  const asc = join(ROOT, 'node_modules/assemblyscript/bin/asc.js');
  const entry = 'test/core/entries/topic-index.entry.ts';
  const flags = ['--target', 'release', '-o', out, '-t', join(folder, 'index.wat')];
  try {
    execFileSync(process.execPath, [asc, entry, ...flags], { cwd: ROOT, stdio: 'pipe' });
    return new WebAssembly.Module(readFileSync(out));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Repeatable pseudo-random numbers below `limit`. */
function numbers(seed) {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 4_294_967_296) * limit);
  };
}

const KINDS = ['temperature', 'humidity', 'state', 'alarm', 'power', 'rssi', 'uptime', 'position'];
const topicOf = (device, kind) =>
  `site/${device % 97}/device-${device}/${KINDS[kind % KINDS.length]}`;

function filterOf(i) {
  const site = i % 97;
  switch (i % 10) {
    case 0: return `site/${site}/device-${i}/#`;
    case 1: return `site/+/device-${i}/alarm`;
    case 2: return `site/${site}/device-${i}/+`;
    case 3: return `+/+/device-${i}/state`;
    default: return topicOf(i, i >> 3);
  }
}

function median(samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  const round = (value) => Math.round(value * 10) / 10;
  return {
    median: round(sorted[sorted.length >> 1]), min: round(sorted[0]), max: round(sorted.at(-1)),
  };
}

/** Nanoseconds per call of `work`, which takes the topic's number. */
function measure(count, work) {
  const samples = [];
  for (let round = 0; round < ROUNDS + 2; round++) {
    const start = now();
    for (let i = 0; i < count; i++) work(i);
    if (round > 1) samples.push((now() - start) / count);
  }
  return median(samples);
}

function openCore(module, megabytes) {
  const env = { abort: () => { throw new Error('abort'); } };
  const core = new WebAssembly.Instance(module, { env }).exports;
  core.growMemory(megabytes * 16);
  const text = core.heapBase();
  core.initialiseBlocks(text + (8 << 20), core.memory.buffer.byteLength);
  core.initialiseIndex(0x1234_5678_9abc_def0n);
  const memory = Buffer.from(core.memory.buffer);
  return { core, text, write: (string, at = text) => memory.write(string, at, 'latin1') };
}

function coreRow(module, filters, topics) {
  const { core, text, write } = openCore(module, 1024);
  const session = core.allocate(MEMORY_RECORD, 16);
  new DataView(core.memory.buffer).setUint32(session, 0, true);
  const before = core.usedOf(MEMORY_INDEX);
  const started = now();
  for (let i = 0; i < filters; i++) {
    const length = write(filterOf(i));
    if (core.subscribe(text, length, 0, 0, session, 0, 0, 0) === 0) throw new Error('no memory');
  }
  const subscribeNs = (now() - started) / filters;
  const bytes = (core.usedOf(MEMORY_INDEX) - before) / filters;
  const at = new Uint32Array(TOPICS);
  const length = new Uint32Array(TOPICS);
  let end = text + 65_536;
  topics.forEach((topic, i) => {
    at[i] = end;
    length[i] = write(topic, end);
    end += length[i];
  });
  const match = (i) => core.receiversOf(core.internTopic(at[i], length[i]));
  core.setTopicCacheMax(64); // far fewer than topics: nothing is ever found in the cache
  const uncached = measure(TOPICS, match);
  core.setTopicCacheMax(TOPICS);
  const cached = measure(TOPICS, (i) => match(i & (HOT - 1)));
  const anew = measure(TOPICS, (i) => core.matchAnew(at[i], length[i]));
  const internOnly = measure(TOPICS, (i) => core.internTopic(at[i & 255], length[i & 255]));
  return { newTopicNs: uncached, uncachedNs: anew, cachedNs: cached, internNs: internOnly,
    bytesPerFilter: Math.round(bytes * 10) / 10, subscribeNs: Math.round(subscribeNs) };
}

function qlobberRow(filters, topics) {
  const require = createRequire(import.meta.url);
  const { Qlobber } = require('qlobber');
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  const matcher = new Qlobber({
    separator: '/', wildcard_one: '+', wildcard_some: '#', match_empty_levels: true,
  });
  for (let i = 0; i < filters; i++) matcher.add(filterOf(i), i);
  globalThis.gc?.();
  const bytes = (process.memoryUsage().heapUsed - before) / filters;
  const uncached = measure(TOPICS, (i) => matcher.match(topics[i]));
  return { uncachedNs: uncached, bytesPerFilter: globalThis.gc ? Math.round(bytes) : null };
}

function retainedRow(module, count) {
  const { core, text, write } = openCore(module, 1024);
  const before = core.usedOf(MEMORY_RETAINED);
  let started = now();
  for (let i = 0; i < count; i++) {
    if (core.retainedPut(text, write(topicOf(i >> 2, i)), 16 + i, i) !== 0) throw new Error('full');
  }
  const putNs = (now() - started) / count;
  const topicsHeld = core.retainedCount();
  const bytes = (core.usedOf(MEMORY_RETAINED) - before) / topicsHeld;
  const walk = core.walkStart(text, write('#'), count);
  started = now();
  let walked = 0;
  while (core.walkNext(walk, 1_000_000) !== 0) walked++;
  const walkNs = (now() - started) / walked;
  core.walkEnd(walk);
  return { topics: topicsHeld, bytesPerTopic: Math.round(bytes * 10) / 10,
    putNs: Math.round(putNs), walkNs: Math.round(walkNs * 10) / 10 };
}

const module = compile();
const rows = [];
for (const filters of values.filters.split(',').map(Number)) {
  const random = numbers(7);
  const topics = Array.from({ length: TOPICS }, () => topicOf(random(filters), random(8)));
  const row = { filters, nidomq: coreRow(module, filters, topics) };
  if (!values['without-qlobber']) row.qlobber = qlobberRow(filters, topics);
  row.retained = retainedRow(module, filters);
  rows.push(row);
  if (values.json) continue;
  const { nidomq, qlobber, retained } = row;
  const spread = ({ median: middle, min, max }) => `${middle} ns (${min}..${max})`;
  console.log(`${filters} filters`);
  console.log(`  nidomq   new topic ${spread(nidomq.newTopicNs)},`
    + ` uncached ${spread(nidomq.uncachedNs)}, cached ${spread(nidomq.cachedNs)},`
    + ` intern ${spread(nidomq.internNs)}, ${nidomq.bytesPerFilter} B a filter,`
    + ` subscribe ${nidomq.subscribeNs} ns`);
  if (qlobber) {
    console.log(`  qlobber  uncached ${spread(qlobber.uncachedNs)},`
      + ` ${qlobber.bytesPerFilter ?? '? (needs --expose-gc)'} B a filter`);
  }
  console.log(`  retained ${retained.topics} topics, ${retained.bytesPerTopic} B each,`
    + ` put ${retained.putNs} ns, walk ${retained.walkNs} ns each`);
}
if (values.json) {
  console.log(JSON.stringify({ bench: 'matching', node: process.version, rows }, null, 2));
}
