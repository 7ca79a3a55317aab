// What a door costs: CPU time per delivered message through tcp, tls, ws and wss, beside mosquitto
// in the same run, and with `--profile` where nidomq's time goes.
//   node bench/doors.mjs [--rounds 3] [--seconds 3] [--quick] [--json FILE] [--profile]
// Needs openssl for a certificate. The same scenarios, generator and verification as broker.mjs.
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { FOLDER, availableBrokers } from './load/brokers.mjs';
import { machine, runOnce, runRounds, spreadText, summarise, tidy } from './load/measure.mjs';
import { answerHelp } from './load/words.mjs';

answerHelp(import.meta.url);

const { values } = parseArgs({
  options: {
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    profile: { type: 'boolean', default: false },
  },
});

const DOORS = ['tcp', 'tls', 'ws', 'wss'];
const PAIRS = {
  kind: 'flow', layout: 'pairs', figure: 'usPerMessage', pubs: 10, size: 64, window: 20,
};
const TRAFFIC = [
  { name: 'q0', ...PAIRS, qos: 0, credit: 200 },
  { name: 'q1', ...PAIRS, qos: 1, credit: 200 },
  { name: 'one-per-read-q0', ...PAIRS, qos: 0, credit: 1 },
];

function makeCertificate() {
  const cert = join(FOLDER, 'cert.pem');
  const key = join(FOLDER, 'key.pem');
  execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
    '-keyout', key, '-out', cert, '-subj', '/CN=localhost', '-days', '2',
  ], { stdio: 'ignore' });
  return { cert, key };
}

/** The room of the code that a sample of the profiler fell into. */
function roomOf({ functionName, url }) {
  if (functionName === '(idle)') return 'idle';
  if (functionName === '(garbage collector)') return 'garbage collector';
  if (url.startsWith('wasm:')) return 'core (WebAssembly)';
  if (url.includes('/node_modules/ws/')) return 'ws';
  const own = /\/dist\/(\w+)\//.exec(url);
  if (own !== null) return `lib/${own[1]}`;
  const node = /^node:(?:internal\/)?(\w+)/.exec(url);
  if (node !== null) return `node ${node[1]}`;
  // What has no file is the kernel and libuv, OpenSSL and V8 itself.
  return functionName === '(program)' ? 'outside of JavaScript' : `native ${functionName}`;
}

function readProfile(folder) {
  const [file] = readdirSync(folder).filter((name) => name.endsWith('.cpuprofile'));
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(join(folder, file), 'utf8'));
  const rooms = new Map(nodes.map(({ id, callFrame }) => [id, roomOf(callFrame)]));
  const shares = new Map();
  let busy = 0;
  for (const [i, id] of samples.entries()) {
    const room = rooms.get(id);
    if (room === 'idle') continue;
    busy += timeDeltas[i];
    shares.set(room, (shares.get(room) ?? 0) + timeDeltas[i]);
  }
  return [...shares].sort((a, b) => b[1] - a[1]).slice(0, 8)
    .map(([room, time]) => ({ room, percent: Math.round(time / busy * 1000) / 10 }));
}

async function profileDoor(door, options) {
  const profileFolder = join(FOLDER, `profile-${door}`);
  await runOnce('nidomq', TRAFFIC[0], { ...options, door, profileFolder });
  return { door, rooms: readProfile(profileFolder) };
}

const versions = availableBrokers();
const brokers = Object.keys(versions).filter((name) => name !== 'aedes');
const scenarios = TRAFFIC.flatMap((traffic) => DOORS.map((door) =>
  ({ ...traffic, name: `${door}-${traffic.name}`, settings: { door } })));
const options = {
  version: 4, certificate: makeCertificate(),
  seconds: Number(values.seconds ?? (values.quick ? 0.5 : 3)),
  warmUpSeconds: values.quick ? 0.3 : 1,
};
const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
const samples = await runRounds({
  brokers, scenarios, rounds, options,
  onSample: ({ round, scenario, broker, failed, usPerMessage }) =>
    console.error(`${round} ${scenario} ${broker} ${failed ?? tidy(usPerMessage)}`),
});
const rows = summarise(samples, scenarios, brokers);
const profiles = [];
if (values.profile) for (const door of DOORS) profiles.push(await profileDoor(door, options));

if (values.json !== undefined) {
  const report = { bench: 'doors', machine: machine(), versions, rounds, rows, profiles, samples };
  writeFileSync(values.json, `${JSON.stringify(report, null, 1)}\n`);
}
const { cpu, cores, kernel, node } = machine();
console.log(`${cpu}, ${cores} cores, Linux ${kernel}, Node ${node}; ${JSON.stringify(versions)}`);
console.log(`\n| door and traffic | ${brokers.join(' | ')} |`);
console.log(`| --- | ${brokers.map(() => '---:').join(' | ')} |`);
for (const { name } of scenarios) {
  const cells = brokers.map((broker) => {
    const row = rows.find((one) => one.scenario === name && one.broker === broker);
    return spreadText(row.figures.usPerMessage) + (row.wrong === undefined ? '' : ' FAULTY');
  });
  console.log(`| ${name} | ${cells.join(' | ')} |`);
}
for (const { scenario, broker, wrong } of rows) {
  if (wrong !== undefined) console.log(`FAULTY ${scenario} ${broker}: ${wrong}`);
}
for (const { door, rooms } of profiles) {
  console.log(`${door}: ${rooms.map(({ room, percent }) => `${room} ${percent} %`).join(', ')}`);
}
if (rows.some(({ broker, wrong }) => broker === 'nidomq' && wrong !== undefined)) {
  process.exitCode = 1;
}
