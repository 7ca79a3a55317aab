// Real clients against a broker that is killed again and again. Publishers number what they publish; at the end every
// number that was acknowledged has arrived, in order, those with QoS 2 once.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import mqtt from 'mqtt';
import { random } from './model.mjs';
import { MosquittoPublisher, RawPublisher } from './publishers.mjs';

const SERVER = join(dirname(fileURLToPath(import.meta.url)), 'server.mjs');
const WINDOW = 20;
const PUBLISHERS = [1, 2, 1, 2];
const PACKET_IDENTIFIER_NOT_FOUND = 0x92;
const QUIET_MS = 1_000;
const DRAIN_MS = 30_000;

class Server {
  #process;
  port = 0;
  constructor(broker, path, durability) {
    this.arguments = { broker, path, durability };
  }
  async start() {
    const { broker, path, durability } = this.arguments;
    // A queue of an offline client soon has to wait on disk.
    const limits = JSON.stringify({ queueMemoryMessagesMax: 500 });
    const args = [SERVER, broker, path, String(this.port), durability, limits];
    this.#process = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    for await (const line of createInterface({ input: this.#process.stdout })) {
      const said = JSON.parse(line);
      if (said.port !== undefined) {
        this.port = said.port;
        this.#process.stdout.resume();
        return;
      }
    }
    throw new Error('the broker ended before it was ready');
  }
  async kill() {
    const closed = once(this.#process, 'close');
    this.#process.kill('SIGKILL');
    await closed;
  }
}

/** Publishes 0, 1, 2 ... to a topic of its own, and the same as the retained message of another. */
class Publisher {
  acknowledged = 0;
  sent = 0;
  retainedAcknowledged = -1;
  uncertain = new Set();
  #isStopped = false;
  #outstanding = 0;
  #idle;
  constructor(client, number, qos) {
    this.client = client;
    this.topic = `numbers/${number}`;
    this.retainedTopic = `last/${number}`;
    this.qos = qos;
  }
  run() {
    while (!this.#isStopped && this.#outstanding < WINDOW) this.#publish(this.sent++);
  }
  #publish(value) {
    this.#outstanding++;
    const options = { qos: this.qos };
    const isRetained = value % 10 === 0;
    const topic = isRetained ? this.retainedTopic : this.topic;
    this.client.publish(topic, String(value), { ...options, retain: isRetained }, (error) => {
      this.#outstanding--;
      // PUBREL came again after a crash behind its commit: MQTT 5 says that this is no error then.
      if (error && error.code !== PACKET_IDENTIFIER_NOT_FOUND) {
        // MQTT.js gives up what it was about to send again when the connection breaks once more.
        this.uncertain.add(value);
      } else {
        this.acknowledged++;
        if (isRetained) this.retainedAcknowledged = value;
      }
      if (this.#isStopped && this.#outstanding === 0) this.#idle?.();
      else setImmediate(() => this.run());
    });
  }
  stop() {
    this.#isStopped = true;
    return new Promise((resolve) => {
      this.#idle = resolve;
      if (this.#outstanding === 0) resolve();
    });
  }
}

class Receiver {
  values = new Map();
  last = Date.now();
  constructor(client) {
    client.on('message', (topic, payload) => {
      if (!this.values.has(topic)) this.values.set(topic, []);
      this.values.get(topic).push(Number(payload.toString()));
      this.last = Date.now();
    });
  }
  async quiet() {
    const limit = Date.now() + DRAIN_MS;
    while (Date.now() - this.last < QUIET_MS && Date.now() < limit) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  /** What is wrong with what came from one publisher. */
  faults(name, { topic, qos, sent, uncertain }) {
    const faults = [];
    const seen = new Set();
    let highest = -1;
    for (const value of this.values.get(topic) ?? []) {
      if (seen.has(value)) {
        if (qos === 2) faults.push(`${name}: ${topic} ${value} came twice with QoS 2`);
        continue;
      }
      seen.add(value);
      if (value < highest) faults.push(`${name}: ${topic} ${value} came after ${highest}`);
      highest = Math.max(highest, value);
    }
    for (let value = 0; value < sent; value++) {
      if (value % 10 !== 0 && !seen.has(value) && !uncertain.has(value)) faults.push(`${name}: ${topic} ${value} was acknowledged and is lost`);
    }
    return faults;
  }
}

function connect(port, clientId, options = {}) {
  const client = mqtt.connect({
    host: '127.0.0.1', port, clientId, clean: false, protocolVersion: 5, reconnectPeriod: 20, connectTimeout: 2_000,
    properties: { sessionExpiryInterval: 86_400 }, ...options,
  });
  client.on('error', () => undefined);
  return client;
}

/**
 * Sessions that end while messages wait for them which others have as well: what they leave is
 * deleted while everything else goes on.
 */
class PassersBy {
  ended = 0;
  #isStopped = false;
  #done;
  constructor(port) {
    this.port = port;
    this.#done = this.#run();
  }
  stop() {
    this.#isStopped = true;
    return this.#done;
  }
  async #run() {
    for (let turn = 0; !this.#isStopped; turn++) {
      const clientId = `passer-by-${turn % 3}`;
      await this.#visit(clientId, { clean: true }, (client) => client.subscribeAsync('numbers/#', { qos: 2 }));
      await new Promise((resolve) => setTimeout(resolve, 40));
      const once_ = { clean: true, properties: { sessionExpiryInterval: 0 } };
      await this.#visit(clientId, once_, () => { this.ended += 1; });
    }
  }
  /** A visit that a kill cuts short is a visit too. */
  async #visit(clientId, options, act) {
    const client = connect(this.port, clientId, { ...options, reconnectPeriod: 0 });
    try {
      const gone = once(client, 'close').then(() => { throw new Error('closed'); });
      await Promise.race([once(client, 'connect'), gone]);
      await Promise.race([act(client), gone]);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await client.endAsync().catch(() => undefined);
  }
}

export async function brokerRounds({ broker, rounds, seed, durability = 'disk', print = () => {} }) {
  const next = random(seed);
  const path = mkdtempSync(join(tmpdir(), 'nidomq-broker-kill-'));
  const server = new Server(broker, path, durability);
  const clients = [];
  const open = (name, options) => {
    const client = connect(server.port, name, options);
    clients.push(client);
    return client;
  };
  try {
    await server.start();
    const offline = open('offline');
    await offline.subscribeAsync('numbers/#', { qos: 2 });
    await offline.endAsync();
    const online = open('online');
    const heardOnline = new Receiver(online);
    await online.subscribeAsync('numbers/#', { qos: 2 });
    const publishers = PUBLISHERS.map((qos, i) => {
      return new Publisher(open(`publisher-${i}`, { protocolVersion: i < 2 ? 5 : 4 }), i, qos);
    });
    const first = publishers.length;
    for (const [i, qos] of [1, 2].entries()) {
      publishers.push(new RawPublisher(server.port, first + i, qos, WINDOW));
    }
    if (spawnSync('mosquitto_pub', ['--help']).error === undefined) {
      for (const [i, qos] of [1, 2].entries()) {
        publishers.push(new MosquittoPublisher(server.port, first + 2 + i, qos));
      }
    } else {
      print('skipped: mosquitto_pub is not here, MQTT.js and raw clients only');
    }
    for (const publisher of publishers) publisher.run();
    const passersBy = new PassersBy(server.port);
    for (let round = 1; round <= rounds; round++) {
      await new Promise((resolve) => setTimeout(resolve, 150 + next(350)));
      await server.kill();
      await server.start();
      const acknowledged = publishers.reduce((sum, publisher) => sum + publisher.acknowledged, 0);
      print(`kill ${round}: ${acknowledged} acknowledged, ${passersBy.ended} sessions ended so far`);
    }
    await passersBy.stop();
    await Promise.all(publishers.map((publisher) => publisher.stop()));
    await heardOnline.quiet();
    const late = open('offline');
    const heardLate = new Receiver(late);
    const reader = open('reader');
    const heardRetained = new Receiver(reader);
    await reader.subscribeAsync('last/#', { qos: 1 });
    await heardLate.quiet();
    const faults = [];
    for (const publisher of publishers) {
      faults.push(...heardOnline.faults('online', publisher), ...heardLate.faults('offline', publisher));
      const retained = heardRetained.values.get(publisher.retainedTopic)?.[0];
      const isLater = retained > publisher.retainedAcknowledged && publisher.uncertain.has(retained);
      if ((retained ?? -1) !== publisher.retainedAcknowledged && !isLater) {
        faults.push(`${publisher.retainedTopic}: retained ${retained}, acknowledged ${publisher.retainedAcknowledged}`);
      }
    }
    const acknowledged = publishers.reduce((sum, publisher) => sum + publisher.acknowledged, 0);
    if (faults.length > 0) {
      throw new Error(`${faults.length} faults after ${acknowledged} acknowledgements (seed ${seed})\n  ${
        faults.slice(0, 20).join('\n  ')}`);
    }
    return { rounds, acknowledged, ended: passersBy.ended };
  } finally {
    for (const client of clients) client.end(true);
    await server.kill().catch(() => undefined);
    rmSync(path, { recursive: true, force: true });
  }
}
