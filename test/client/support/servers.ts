/** Servers that the client joins: ours, mosquitto, aedes; over TCP and TLS, and cut off at will. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectSocket, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { readFileSync } from 'node:fs';
import { Aedes } from 'aedes';
import { Broker } from '../../../lib/broker/broker.js';
import type { BrokerOptions } from '../../../lib/broker/broker-options.js';
import { findMosquitto } from '../../conformance/brokers.js';
import { Certificates } from '../../listener/support/certificates.js';
import type { Pair } from '../../listener/support/certificates.js';
import type { Recording } from './recorded-line.js';

const HOST = '127.0.0.1';
const START_MS = 60_000;

/** Everything that a test has started; `stop` takes it away again, last first. */
export class Stage {
  readonly #undo: (() => unknown)[] = [];

  onStop(undo: () => unknown): void {
    this.#undo.push(undo);
  }
  async stop(): Promise<void> {
    for (const undo of this.#undo.splice(0).reverse()) await undo();
  }

  async ours(options: BrokerOptions = {}): Promise<{ broker: Broker; url: string; port: number }> {
    const listeners = options.listeners ?? [{ host: HOST, port: 0 }];
    const broker = new Broker({ logger: false, ...options, listeners });
    await broker.listen();
    this.onStop(() => broker.close());
    const port = broker.listeners[0].port!;
    return { broker, port, url: `mqtt://${HOST}:${port}` };
  }

  async oursTls(): Promise<TlsServer> {
    const { pair, tls } = this.certificates();
    const { port } = await this.ours({ listeners: [{ host: HOST, port: 0, tls: pair }] });
    return { url: `mqtts://${HOST}:${port}`, port, tls, ca: tls.ca };
  }

  async aedes(): Promise<AedesServer> {
    return this.#serve(await Aedes.createBroker(), 'mqtt', createServer);
  }

  async aedesTls(): Promise<AedesServer & TlsServer> {
    const { tls } = this.certificates();
    const served = await this.#serve(
      await Aedes.createBroker(), 'mqtts', (handle) => createTlsServer(tls, handle));
    return { ...served, tls, ca: tls.ca };
  }

  async #serve(
    broker: Aedes, protocol: string, serverOf: (handle: Aedes['handle']) => Server,
  ): Promise<AedesServer> {
    const sockets = new Set<Socket>();
    const listen = async (port: number): Promise<Server> => {
      const server = serverOf(broker.handle);
      server.on('connection', (socket) => {
        sockets.add(socket);
        socket.on('close', () => sockets.delete(socket));
      });
      await new Promise<void>((resolve) => server.listen(port, HOST, resolve));
      return server;
    };
    let server = await listen(0);
    const { port } = server.address() as AddressInfo;
    this.onStop(async () => {
      server.close();
      await new Promise<void>((resolve) => broker.close(() => resolve()));
    });
    const restart = async (): Promise<void> => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
      server = await listen(port);
    };
    return { port, url: `${protocol}://${HOST}:${port}`, restart };
  }

  async mosquitto(lines: readonly string[] = []): Promise<Mosquitto> {
    const mosquitto = new Mosquitto(await freePort(), lines);
    this.onStop(() => mosquitto.remove());
    await mosquitto.start();
    return mosquitto;
  }

  async mosquittoTls(): Promise<TlsServer & Pick<Mosquitto, 'restart'>> {
    const { pair, tls } = this.certificates();
    const mosquitto = await this.mosquitto([
      `certfile ${pair.certFile}`, `keyfile ${pair.keyFile}`,
    ]);
    return {
      url: `mqtts://${HOST}:${mosquitto.port}`,
      port: mosquitto.port,
      ca: tls.ca,
      tls,
      restart: () => mosquitto.restart(),
    };
  }

  /** A certificate for this machine: in files, and as Node's TLS takes it. */
  certificates(): { pair: Pair; tls: NonNullable<ProxyOptions['tls']> } {
    const tls = certificate();
    const folder = mkdtempSync(join(tmpdir(), 'nidomq-client-certificate-'));
    this.onStop(() => rmSync(folder, { recursive: true, force: true }));
    const pair = { certFile: join(folder, 'server.crt'), keyFile: join(folder, 'server.key') };
    writeFileSync(pair.certFile, tls.cert);
    writeFileSync(pair.keyFile, tls.key);
    return { pair, tls };
  }

  async proxy(port: number, options: ProxyOptions = {}): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(port, options);
    this.onStop(() => proxy.stop());
    await proxy.start();
    return proxy;
  }
}

let issued: NonNullable<ProxyOptions['tls']> | undefined;

/** The same for every test of a file: each costs three processes of openssl. */
function certificate(): NonNullable<ProxyOptions['tls']> {
  if (issued !== undefined) return issued;
  const certificates = new Certificates();
  try {
    const { certFile, keyFile } = certificates.server();
    const [key, cert, ca] = [keyFile, certFile, certificates.caFile].map((file) => readFileSync(file));
    return issued = { key, cert, ca };
  } finally {
    certificates.remove();
  }
}

export interface TlsServer {
  readonly url: string;
  readonly port: number;
  readonly ca: Buffer;
  readonly tls: NonNullable<ProxyOptions['tls']>;
}

export interface AedesServer {
  readonly url: string;
  readonly port: number;
  /** Closes its server and every connection, and listens again: the broker itself lives on. */
  restart(): Promise<void>;
}

export const hasMosquitto = findMosquitto() !== undefined;

/** A mosquitto that may be stopped and started again on the same port, with its state on disk. */
export class Mosquitto {
  readonly url: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'nidomq-client-mosquitto-'));
  #child: ChildProcess | undefined;

  constructor(readonly port: number, lines: readonly string[]) {
    this.url = `mqtt://${HOST}:${port}`;
    writeFileSync(join(this.#folder, 'mosquitto.conf'), [
      'user root', 'allow_anonymous true', 'persistence true',
      `persistence_location ${this.#folder}/`, 'max_queued_messages 0', 'autosave_interval 3600',
      `listener ${port} ${HOST}`, ...lines, '',
    ].join('\n'));
  }

  async start(): Promise<void> {
    const command = findMosquitto()!;
    const child = spawn(command, ['-c', join(this.#folder, 'mosquitto.conf')], { stdio: 'ignore' });
    this.#child = child;
    await untilListening(this.port);
  }

  /** SIGTERM: it saves what it knows. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await gone;
    this.#child = undefined;
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

export interface ProxyOptions {
  /** Is given what passes. */
  readonly recording?: Recording;
  /** On both sides, so that what passes can be read. */
  readonly tls?: { readonly key: Buffer; readonly cert: Buffer; readonly ca: Buffer };
}

/** Passes bytes on, and cuts every connection when it is told to. */
export class CuttingProxy {
  cuts = 0;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  readonly #protocol: string;

  constructor(target: number, { recording, tls }: ProxyOptions) {
    const accept = (near: Socket): void => {
      const far = tls === undefined
        ? connectSocket(target, HOST) : connectTls({ host: HOST, port: target, ca: tls.ca });
      const line = recording?.line();
      if (line !== undefined) {
        near.on('data', line.client);
        far.on('data', line.server);
      }
      for (const socket of [near, far]) {
        this.#sockets.add(socket);
        socket.setNoDelay(true);
        socket.on('error', () => socket.destroy());
        socket.on('close', () => {
          this.#sockets.delete(socket);
          near.destroy();
          far.destroy();
        });
      }
      near.pipe(far);
      far.pipe(near);
    };
    this.#protocol = tls === undefined ? 'mqtt' : 'mqtts';
    this.#server = tls === undefined ? createServer(accept) : createTlsServer(tls, accept);
  }

  get url(): string {
    return `${this.#protocol}://${HOST}:${(this.#server.address() as AddressInfo).port}`;
  }
  get open(): number {
    return this.#sockets.size / 2;
  }
  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, HOST, resolve));
  }
  cut(): void {
    this.cuts += 1;
    for (const socket of this.#sockets) socket.destroy();
  }
  async stop(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export async function untilListening(port: number): Promise<void> {
  const end = Date.now() + START_MS;
  for (;;) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connectSocket(port, HOST, () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (open) return;
    if (Date.now() > end) throw new Error(`nobody listens on port ${port}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Waits until `condition` holds, looking again after every turn. */
export async function until(
  condition: () => boolean, what: string, limitMs = 60_000,
): Promise<void> {
  const end = Date.now() + limitMs;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
