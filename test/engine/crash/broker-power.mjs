// Power cuts under a whole broker: a run with real clients is recorded, the disk is rebuilt as it
// might look after a cut, a new broker opens it, and its clients compare.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import mqtt from 'mqtt';
import { PUBLISHERS, RETAINED_EVERY } from './broker-traffic.mjs';
import { random } from './model.mjs';
import { cutPower, readRecord } from './power-loss.mjs';
import { runAndKill } from './rounds.mjs';

const WORKLOAD = join(dirname(fileURLToPath(import.meta.url)), 'broker-workload.mjs');
const DEADLINE_MS = 60_000;
const CUTS_PER_RUN = 10;

/** What the clients had said when the power went. */
function readLines(lines) {
  const told = PUBLISHERS.map(() => ({
    tried: [], acknowledged: new Set(), received: new Map(), emitted: new Set(),
  }));
  for (const line of lines) {
    const { p, a, r, e } = JSON.parse(line);
    if (p) told[p[0]].tried.push(p[1]);
    else if (a) told[a[0]].acknowledged.add(a[1]);
    else if (r) told[r[0]].received.set(r[1], r[2]);
    else if (e) told[e[0]].emitted.add(e[1]);
  }
  return told;
}
const isRetained = (value) => value % RETAINED_EVERY === 0;

/**
 * The receiver that was online remembers the Packet Identifiers of QoS 2 messages whose PUBREL it
 * awaits: the same message has to come with the same one, and no other message may.
 */
function watchIdentifiers(client, told, faults) {
  const awaited = new Map();
  told.forEach(({ received, emitted }, n) => {
    if (PUBLISHERS[n] !== 2) return;
    for (const [value, identifier] of received) {
      if (!emitted.has(value)) awaited.set(identifier, `${n}/${value}`);
    }
  });
  client.on('packetreceive', ({ cmd, qos, topic, payload, messageId }) => {
    if (cmd === 'pubrel') awaited.delete(messageId);
    if (cmd !== 'publish' || qos !== 2) return;
    const name = `${topic.split('/')[1]}/${payload.toString()}`;
    const known = awaited.get(messageId);
    if (known !== undefined && known !== name) {
      faults.push(`online: ${name} has the identifier of ${known} and would be swallowed`);
    }
    for (const [identifier, other] of awaited) {
      if (other === name && identifier !== messageId) {
        faults.push(`online: ${name} came as ${identifier}, then as ${messageId}: twice`);
      }
    }
  });
}

/** Everything that waits for a session: up to a message that is published now. */
async function drain(server, clientId, watch = () => {}) {
  const values = PUBLISHERS.map(() => []);
  const client = mqtt.connect({
    host: '127.0.0.1', port: server.listeners[0].port, clientId, clean: false, protocolVersion: 5,
    properties: { sessionExpiryInterval: 86_400 }, reconnectPeriod: 0,
  });
  watch(client);
  try {
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${clientId}: the end never came`)), DEADLINE_MS);
      client.on('message', (topic, payload) => {
        if (topic === `numbers/end/${clientId}`) {
          clearTimeout(timer);
          resolve();
        } else if (topic.split('/')[1] !== 'end') {
          values[Number(topic.split('/')[1])].push(Number(payload.toString()));
        }
      });
      client.once('connect', ({ sessionPresent }) => {
        if (!sessionPresent) reject(new Error(`the session of ${clientId} is lost`));
        else server.publish(`numbers/end/${clientId}`, '', { qos: 2 }).catch(reject);
      });
      client.once('error', reject);
    });
    return values;
  } finally {
    await client.endAsync(true);
  }
}
async function retainedOf(server) {
  const found = new Map();
  const client = await mqtt.connectAsync({ host: '127.0.0.1', port: server.listeners[0].port });
  client.on('message', (topic, payload) => found.set(topic, Number(payload.toString())));
  await client.subscribeAsync(['last/#', 'end']);
  await server.publish('end', '', { qos: 1 });
  while (!found.has('end')) await new Promise((resolve) => setImmediate(resolve));
  await client.endAsync(true);
  return found;
}

function faultsOf(name, n, { acknowledged, received, emitted }, values) {
  const faults = [];
  const has = name === 'online' ? received : new Map();
  const before = name === 'online' ? emitted : new Set();
  const seen = new Set();
  let highest = -1;
  for (const value of values) {
    const isAgain = seen.has(value) || before.has(value);
    if (isAgain && PUBLISHERS[n] === 2) faults.push(`${name}: ${value} of ${n} came twice, QoS 2`);
    if (!seen.has(value) && value < highest) {
      faults.push(`${name}: ${value} of ${n} came after ${highest}`);
    }
    seen.add(value);
    highest = Math.max(highest, value);
  }
  for (const value of acknowledged) {
    if (!isRetained(value) && !seen.has(value) && !has.has(value)) {
      faults.push(`${name}: ${value} of ${n} was acknowledged and is lost`);
    }
  }
  return faults;
}

async function inspect(broker, image, told) {
  const { Broker } = await import(broker);
  const server = new Broker({
    listeners: [{ port: 0 }], engine: { file: { path: image } }, logger: false,
    sys: { intervalSeconds: 0 },
    limits: { queueMemoryMessagesMax: 300, queueMessagesMax: 1_000_000 },
  });
  await server.listen();
  try {
    const faults = [];
    for (const loss of (await server.check()).losses) faults.push(`check: ${loss.detail}`);
    const retained = await retainedOf(server);
    for (const name of ['offline', 'online']) {
      const watch = (client) => watchIdentifiers(client, told, faults);
      const values = await drain(server, name, name === 'online' ? watch : undefined);
      told.forEach((said, n) => faults.push(...faultsOf(name, n, said, values[n])));
    }
    told.forEach(({ tried, acknowledged }, n) => {
      const last = Math.max(-1, ...[...acknowledged].filter(isRetained));
      const value = retained.get(`last/${n}`) ?? -1;
      if (value === last || (value > last && tried.includes(value))) return;
      faults.push(`last/${n}: ${value} is retained, ${last} was acknowledged last`);
    });
    return faults;
  } finally {
    await server.close({ deadlineMs: 1_000 });
  }
}

/** One cut. Answers how many acknowledgements had come until then. */
async function cutOnce({ broker, events, path, next, label }) {
  const image = mkdtempSync(join(tmpdir(), 'nidomq-crash-'));
  try {
    const ready = events.findIndex(({ kind, data }) => kind === 'A' && data.includes('"ready"'));
    const { lines, how } = cutPower({ events, from: path, to: image, next, notBefore: ready });
    const told = readLines(lines.filter((line) => line.endsWith('}')));
    const acknowledged = told.reduce((sum, { acknowledged: those }) => sum + those.size, 0);
    const faults = existsSync(join(image, 'CURRENT')) ? await inspect(broker, image, told)
      : ['there is no store'];
    if (faults.length > 0) {
      throw new Error(`${label} (${how}): ${faults.length} faults\n  ${faults.slice(0, 20).join('\n  ')}`);
    }
    return { acknowledged, how };
  } finally {
    rmSync(image, { recursive: true, force: true });
  }
}

export async function brokerPowerRounds({
  broker, library, rounds, seed, durability = 'disk', print = () => {},
}) {
  const next = random(seed);
  let acknowledged = 0;
  for (let round = 0; round < rounds;) {
    const path = mkdtempSync(join(tmpdir(), 'nidomq-crash-'));
    const record = `${path}.record`;
    const env = { LD_PRELOAD: library, DISK_DIRECTORY: `${path}/`, DISK_RECORD: record };
    try {
      const args = [WORKLOAD, broker, path, durability];
      await runAndKill({ args, milliseconds: 300 + next(900), env });
      const events = readRecord(readFileSync(record));
      for (let cut = 0; cut < CUTS_PER_RUN && round < rounds; cut++, round++) {
        const label = `power cut ${round + 1} (seed ${seed})`;
        const result = await cutOnce({ broker, events, path, next, label });
        acknowledged += result.acknowledged;
        print(`${label}: ${result.how}; ${result.acknowledged} were acknowledged, all there`);
      }
    } finally {
      rmSync(path, { recursive: true, force: true });
      rmSync(record, { force: true });
    }
  }
  return { rounds, acknowledged };
}
