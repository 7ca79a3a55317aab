// CPU of a whole Nest application per message: one async @EventPattern handler with @Payload(),
// JSON of 64 bytes, default options. Ours hosting and joined beside Nest's stock MQTT transport,
// and two floors: Nest's pipeline with JSON.parse alone, and the same behind a bare socket.
//   node bench/nest.mjs [--rounds 5] [--messages 200000] [--qos 0,1] [--pace 5000 | --pace 0]
//     [--modes stock,host,join,socket,pipeline] [--broker nidomq|mosquitto] [--json FILE] [--gate]
//     [--profile FOLDER] [--dist ../dist]
// Every sample has a fresh application, the joined ones a fresh broker; rounds are interleaved.
// Every message is checked. Build first (`npm run bench:nest` does). `--gate` fails when a bar is
// missed: at QoS 0, saturated, hosted at most 1/8 and joined at most 1/5 of the stock transport.
import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { availableBrokers, pinned, startBroker } from './load/brokers.mjs';
import { machine, spread, spreadText } from './load/measure.mjs';
import { NestPublisher } from './load/nest-publisher.mjs';
import { answerHelp } from './load/words.mjs';

answerHelp(import.meta.url);

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    messages: { type: 'string', default: '200000' },
    qos: { type: 'string', default: '0,1' },
    pace: { type: 'string', default: '5000' },
    modes: { type: 'string', default: 'stock,host,join,socket,pipeline' },
    broker: { type: 'string', default: 'nidomq' },
    json: { type: 'string' },
    gate: { type: 'boolean', default: false },
    profile: { type: 'string' },
    dist: { type: 'string', default: '../dist' },
  },
});
const APPLICATION = join(import.meta.dirname, 'load', 'nest-application.mjs');
const DIST = new URL(`${values.dist}/nest/index.js`, import.meta.url).href;
const BARS = { host: 8, join: 5 };
const WARM_UP = 50_000;
const PACED_SECONDS = 3;
const CREDIT = 4_000;
const WINDOW = 1_000;
const DEADLINE_MS = 120_000;

/** The application as a child: what it says, and how far it is. */
class Application {
  #waiting = new Map();
  #said = new Map();

  constructor({ mode, qos, port }) {
    const flags = values.profile === undefined
      ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`];
    const job = JSON.stringify({ mode, qos, port, dist: DIST });
    const [command, ...args] = pinned(0, [process.execPath, ...flags, APPLICATION, job]);
    this.child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc', 'pipe'] });
    this.child.on('message', (message) => this.#told(message));
    this.child.on('exit', (code) => {
      for (const { reject } of this.#waiting.values()) {
        reject(new Error(`the application ended with ${code}`));
      }
    });
  }

  onProgress(listener) {
    this.child.stdio[4].on('data', (bytes) => listener(bytes.length));
  }

  async says(kind) {
    if (this.#said.has(kind)) {
      const message = this.#said.get(kind);
      this.#said.delete(kind);
      return message;
    }
    let timer;
    const message = await new Promise((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no ${kind} in ${DEADLINE_MS} ms`)), DEADLINE_MS);
      this.#waiting.set(kind, { resolve, reject });
    });
    clearTimeout(timer);
    return message;
  }

  async arm(count) {
    this.child.send({ kind: 'measure', count });
    await this.says('armed');
  }

  fail(error) {
    for (const { reject } of this.#waiting.values()) reject(error);
  }

  async stop() {
    const gone = new Promise((resolve) => this.child.once('exit', resolve));
    if (this.child.exitCode !== null) return;
    this.child.disconnect();
    await gone;
  }

  #told(message) {
    const waiting = this.#waiting.get(message.kind);
    this.#waiting.delete(message.kind);
    if (waiting === undefined) this.#said.set(message.kind, message);
    else waiting.resolve(message);
  }
}

async function measured(application, count) {
  const { micros, wrong } = await application.says('measured');
  if (wrong !== undefined) throw new Error(wrong);
  return micros / count;
}

async function drive(application, mode, { qos, messages, paced, pace }) {
  const { port } = await application.says('listening');
  if (mode === 'pipeline') {
    await application.arm(WARM_UP);
    await measured(application, WARM_UP);
    await application.arm(messages);
    return { saturated: await measured(application, messages) };
  }
  const publisher = new NestPublisher({
    port, qos, credit: CREDIT, window: WINDOW, onClose: (error) => application.fail(error),
  });
  try {
    await publisher.connect();
    application.onProgress((bytes) => publisher.progressed(bytes));
    const figures = {};
    for (const [name, count] of [['warmUp', WARM_UP], ['saturated', messages]]) {
      await application.arm(count);
      publisher.saturate(count);
      figures[name] = await measured(application, count);
    }
    if (paced > 0) {
      await application.arm(paced);
      const publishing = publisher.pace(paced, pace);
      figures.paced = await measured(application, paced);
      await publishing;
    }
    delete figures.warmUp;
    return figures;
  } finally {
    publisher.close();
  }
}

async function sample(mode, load) {
  const needsBroker = mode === 'join' || mode === 'stock';
  // Of the broker only its port is used: it is not measured, and not on the application's core.
  const broker = needsBroker ? await startBroker(values.broker, { core: 1 }) : undefined;
  const application = new Application({ mode, qos: load.qos, port: broker?.port ?? 0 });
  try {
    return await drive(application, mode, load);
  } finally {
    await application.stop();
    await broker?.stop();
  }
}

function rowsOf(samples) {
  const keys = new Set(samples.map(({ mode, qos, load }) => `${load} ${qos} ${mode}`));
  return [...keys].map((key) => {
    const [load, qos, mode] = key.split(' ');
    const own = samples.filter((one) => `${one.load} ${one.qos} ${one.mode}` === key);
    return { load, qos: Number(qos), mode, micros: spread(own.map(({ micros }) => micros)) };
  });
}

function withRatios(rows) {
  const medianOf = (load, qos, mode) =>
    rows.find((row) => row.load === load && row.qos === qos && row.mode === mode)?.micros.median;
  return rows.map((row) => {
    const { load, qos, mode, micros } = row;
    const stock = medianOf(load, qos, 'stock');
    const bar = load === 'saturated' && qos === 0 ? BARS[mode] : undefined;
    return {
      ...row, overStock: stock === undefined ? undefined : stock / micros.median, bar,
      aboveSocket: micros.median - (medianOf(load, qos, 'socket') ?? NaN),
      abovePipeline: micros.median - (medianOf('saturated', 0, 'pipeline') ?? NaN),
    };
  });
}

function print(rows) {
  console.log('| load | QoS | application | us CPU per message | of stock | above bare socket |');
  console.log('| --- | --- | --- | ---: | ---: | ---: |');
  for (const { load, qos, mode, micros, overStock, aboveSocket, bar } of rows) {
    const ratio = overStock === undefined ? '-' : `1/${overStock.toFixed(1)}`;
    const wanted = bar === undefined ? '' : ` (bar 1/${bar})`;
    const above = Number.isNaN(aboveSocket) ? '-' : aboveSocket.toFixed(2);
    console.log(`| ${load} | ${qos} | ${mode} | ${spreadText(micros)} | ${ratio}${wanted} `
      + `| ${above} |`);
  }
}

async function measureAll() {
  const modes = values.modes.split(',');
  const pace = Number(values.pace);
  const samples = [];
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const qos of values.qos.split(',').map(Number)) {
      for (const mode of round % 2 === 0 ? modes : modes.toReversed()) {
        if (mode === 'pipeline' && qos > 0) continue;
        const load = { qos, messages: Number(values.messages), pace, paced: pace * PACED_SECONDS };
        const figures = await sample(mode, load);
        for (const [name, micros] of Object.entries(figures)) {
          samples.push({ round, load: name, qos, mode, micros });
        }
        console.error(`${round} QoS ${qos} ${mode} ${JSON.stringify(figures)}`);
      }
    }
  }
  return samples;
}

spawnSync('taskset', ['-cp', '1', String(process.pid)]);
const samples = await measureAll();
const rows = withRatios(rowsOf(samples));
const { cpu, cores, kernel, node } = machine();
const versions = availableBrokers();
console.log(`${cpu}, ${cores} cores, Linux ${kernel}, Node ${node}; broker of stock and join: `
  + `${values.broker} ${versions[values.broker]}`);
print(rows);
if (values.json !== undefined) {
  const report = {
    bench: 'nest', at: new Date().toISOString(), machine: machine(), versions,
    broker: values.broker, rows, samples,
  };
  writeFileSync(values.json, `${JSON.stringify(report, null, 1)}\n`);
}
const missed = rows.filter(({ bar, overStock }) => bar !== undefined && !(overStock >= bar));
for (const { mode, overStock, bar } of missed) {
  console.error(`MISSED ${mode}: 1/${overStock?.toFixed(2)} of stock, the bar is 1/${bar}`);
}
if (values.gate && missed.length > 0) process.exitCode = 1;
