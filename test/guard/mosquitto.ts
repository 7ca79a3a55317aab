/** A mosquitto of this machine to compare verdicts with, and a client that speaks just enough MQTT. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqttPacket from 'mqtt-packet';
import type { Packet } from 'mqtt-packet';

const searchPath = `${process.env.PATH ?? ''}:/usr/sbin:/usr/local/sbin`;

export function hasProgram(name: string): boolean {
  const run = spawnSync(name, ['--help'], { env: { ...process.env, PATH: searchPath } });
  return run.error === undefined;
}

export function temporaryFolder(): { path: string; file(name: string, text: string): string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'nido-guard-'));
  return {
    path,
    file: (name, text) => {
      writeFileSync(join(path, name), text);
      return join(path, name);
    },
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function tryConnect(port: number): Promise<Socket | undefined> {
  const socket = connect(port, '127.0.0.1');
  return new Promise((resolve) => {
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(undefined));
  });
}

export interface Mosquitto {
  readonly port: number;
  stop(): Promise<void>;
}

export async function startMosquitto(configuration: readonly string[]): Promise<Mosquitto> {
  const folder = temporaryFolder();
  const port = await freePort();
  const text = [`listener ${port} 127.0.0.1`, 'persistence false', 'user root', ...configuration];
  const path = folder.file('mosquitto.conf', `${text.join('\n')}\n`);
  const child = spawn('mosquitto', ['-c', path], { env: { ...process.env, PATH: searchPath } });
  let log = '';
  child.stderr.on('data', (chunk: Buffer) => { log += chunk.toString(); });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const deadline = Date.now() + 10_000;
  let probe: Socket | undefined;
  while (!(probe = await tryConnect(port))) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`mosquitto: ${log}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  probe.destroy();
  return {
    port,
    stop: async () => {
      child.kill();
      await ended;
      folder.remove();
    },
  };
}

/** An MQTT 5 client whose every step waits for its answer. */
export class TestClient {
  private readonly waiting: { test: (packet: Packet) => boolean; done: (packet: Packet) => void }[] = [];
  readonly received: { topic: string; payload: string }[] = [];
  private next = 1;

  private constructor(private readonly socket: Socket) {
    const parser = mqttPacket.parser({ protocolVersion: 5 });
    socket.on('data', (chunk: Buffer) => parser.parse(chunk));
    socket.on('error', () => undefined);
    parser.on('packet', (packet: Packet) => {
      if (packet.cmd === 'publish') {
        this.received.push({ topic: packet.topic, payload: packet.payload.toString() });
      }
      const at = this.waiting.findIndex((entry) => entry.test(packet));
      if (at >= 0) this.waiting.splice(at, 1)[0].done(packet);
    });
    socket.on('close', () => {
      for (const entry of this.waiting.splice(0)) entry.done({ cmd: 'disconnect' });
    });
  }

  /** Answers the Reason Code of CONNACK next to the client. */
  static async connect(
    port: number, who: { clientId: string; username?: string; password?: string },
  ): Promise<{ client: TestClient; reasonCode: number }> {
    const socket = await tryConnect(port);
    if (!socket) throw new Error('nobody listens');
    const client = new TestClient(socket);
    const answer = await client.ask({
      cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clean: true, keepalive: 0,
      clientId: who.clientId, username: who.username,
      password: who.password === undefined ? undefined : Buffer.from(who.password),
    }, (packet) => packet.cmd === 'connack');
    const reasonCode = answer.cmd === 'connack' ? answer.reasonCode ?? 0 : 0xff;
    return { client, reasonCode };
  }

  /** The Reason Code of PUBACK. */
  async publish(topic: string, payload: string): Promise<number> {
    const messageId = this.identifier();
    const answer = await this.ask(
      { cmd: 'publish', topic, payload, qos: 1, dup: false, retain: false, messageId },
      (packet) => packet.cmd === 'puback' && packet.messageId === messageId,
    );
    return answer.cmd === 'puback' ? answer.reasonCode ?? 0 : 0xff;
  }

  async subscribe(topicFilters: readonly string[]): Promise<readonly unknown[]> {
    const messageId = this.identifier();
    const subscriptions = topicFilters.map((topic) => ({ topic, qos: 0 as const }));
    const answer = await this.ask(
      { cmd: 'subscribe', messageId, subscriptions },
      (packet) => packet.cmd === 'suback' && packet.messageId === messageId,
    );
    return answer.cmd === 'suback' ? answer.granted : [];
  }

  /** Returns when everything that the broker had sent before has arrived. */
  async ping(): Promise<void> {
    await this.ask({ cmd: 'pingreq' }, (packet) => packet.cmd === 'pingresp');
  }

  close(): void {
    this.socket.destroy();
  }

  private ask(packet: Packet, test: (packet: Packet) => boolean): Promise<Packet> {
    return new Promise((done) => {
      this.waiting.push({ test, done });
      this.socket.write(mqttPacket.generate(packet, { protocolVersion: 5 }));
    });
  }

  private identifier(): number {
    this.next = (this.next % 65_535) + 1;
    return this.next;
  }
}

/** Small pseudo-random numbers that are the same at every run. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
