// Publishers beside MQTT.js: each numbers what it publishes to a topic of its own and knows what was
// acknowledged. Every tenth value is the retained message of another topic.
import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import mqttPacket from 'mqtt-packet';

const RECONNECT_MS = 20;
const BATCH = 50;

/**
 * A client by the letter of MQTT 3.1.1, its session state in memory: it sends everything
 * unacknowledged again, in order, and never gives anything up.
 */
export class RawPublisher {
  acknowledged = 0;
  sent = 0;
  retainedAcknowledged = -1;
  uncertain = new Set();
  /** Packet Identifier -> { value, state }, oldest first; state is `publish` or `pubrel`. */
  #inFlight = new Map();
  #identifier = 0;
  #socket;
  #isConnected = false;
  #isStopped = false;
  #idle;
  constructor(port, number, qos, window) {
    this.port = port;
    this.number = number;
    this.window = window;
    this.topic = `numbers/${number}`;
    this.retainedTopic = `last/${number}`;
    this.qos = qos;
  }
  run() {
    const socket = connect({ port: this.port, host: '127.0.0.1', noDelay: true });
    const parser = mqttPacket.parser({ protocolVersion: 4 });
    this.#socket = socket;
    this.#isConnected = false;
    parser.on('packet', (packet) => this.#received(packet));
    socket.on('data', (bytes) => parser.parse(bytes));
    socket.on('error', () => undefined);
    socket.on('close', () => setTimeout(() => this.#socket === socket && this.run(), RECONNECT_MS));
    this.#send({
      cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: false, keepalive: 0,
      clientId: `raw-${this.number}`,
    });
  }
  #send(packet) {
    this.#socket.write(mqttPacket.generate(packet));
  }
  #received({ cmd, messageId, sessionPresent }) {
    if (cmd === 'connack') this.#resume(sessionPresent);
    const exchange = this.#inFlight.get(messageId);
    if (exchange === undefined) return;
    if (cmd === 'pubrec') {
      exchange.state = 'pubrel';
      this.#send({ cmd: 'pubrel', messageId });
    } else if (cmd === 'puback' || cmd === 'pubcomp') {
      this.#inFlight.delete(messageId);
      this.acknowledged++;
      if (isRetained(exchange.value)) this.retainedAcknowledged = exchange.value;
      this.#fill();
    }
  }
  #resume(sessionPresent) {
    if (!sessionPresent && this.acknowledged > 0) throw new Error(`the session of raw-${this.number} is lost`);
    this.#isConnected = true;
    for (const [messageId, { value, state }] of this.#inFlight) {
      if (state === 'pubrel') this.#send({ cmd: 'pubrel', messageId });
      else this.#publish(messageId, value, { dup: true });
    }
    this.#fill();
  }
  #publish(messageId, value, { dup }) {
    const retain = isRetained(value);
    const topic = retain ? this.retainedTopic : this.topic;
    this.#send({ cmd: 'publish', topic, payload: String(value), qos: this.qos, messageId, dup, retain });
  }
  #fill() {
    if (this.#isStopped && this.#inFlight.size === 0) this.#idle?.();
    while (this.#isConnected && !this.#isStopped && this.#inFlight.size < this.window) {
      do this.#identifier = (this.#identifier % 65_535) + 1;
      while (this.#inFlight.has(this.#identifier));
      const value = this.sent++;
      this.#inFlight.set(this.#identifier, { value, state: 'publish' });
      this.#publish(this.#identifier, value, { dup: false });
    }
  }
  async stop() {
    this.#isStopped = true;
    await new Promise((resolve) => {
      this.#idle = resolve;
      if (this.#inFlight.size === 0) resolve();
    });
    const socket = this.#socket;
    this.#socket = undefined;
    socket.destroy();
  }
}

/**
 * mosquitto_pub, one process for each life of the broker: it says with -d what was acknowledged, and
 * gives up what was not when its connection breaks.
 */
export class MosquittoPublisher {
  acknowledged = 0;
  sent = 0;
  retainedAcknowledged = -1;
  uncertain = new Set();
  #isStopped = false;
  #running = Promise.resolve();
  #feed = () => undefined;
  constructor(port, number, qos) {
    this.port = port;
    this.topic = `numbers/${number}`;
    this.retainedTopic = `last/${number}`; // nothing is published there
    this.qos = qos;
  }
  run() {
    this.#running = this.#lives();
  }
  async #lives() {
    while (!this.#isStopped) await this.#live();
  }
  /** Its Packet Identifiers count the lines that it reads. */
  #live() {
    const args = ['-d', '-l', '-V', '311', '-q', String(this.qos), '-t', this.topic];
    const child = spawn('mosquitto_pub', [...args, '-p', String(this.port)], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    let unanswered = 0;
    const feed = () => {
      const lines = [];
      while (unanswered < BATCH && !this.#isStopped) {
        // Retained ones are not its business: those values are left out.
        if (!isRetained(this.sent)) {
          lines.push(this.sent);
          this.uncertain.add(this.sent);
          values.push(this.sent);
          unanswered++;
        }
        this.sent++;
      }
      if (lines.length > 0) child.stdin.write(`${lines.join('\n')}\n`);
      if (this.#isStopped && unanswered === 0) child.stdin.end();
    };
    const values = [];
    this.#feed = feed;
    child.stdin.on('error', () => undefined);
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.includes('received CONNACK')) feed();
      const [, identifier] = /received (?:PUBACK|PUBCOMP) \(Mid: (\d+)/.exec(line) ?? [];
      if (identifier === undefined) return;
      this.uncertain.delete(values[Number(identifier) - 1]);
      this.acknowledged++;
      unanswered--;
      feed();
    });
    return new Promise((resolve) => {
      child.once('error', resolve);
      child.once('close', () => setTimeout(resolve, RECONNECT_MS));
    });
  }
  async stop() {
    this.#isStopped = true;
    this.#feed();
    await this.#running;
  }
}

function isRetained(value) {
  return value % 10 === 0;
}
