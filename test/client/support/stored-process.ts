/** Client processes with one store, one after the other, and a server that says what a test says. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startChild } from '../../cli/child.js';
import type { Child } from '../../cli/child.js';
import { readSent } from '../../conformance/client/client-reader.js';
import type { Sent } from '../../conformance/client/client-reader.js';
import { connack, suback } from '../../conformance/client/server-packets.js';
import type { Version } from '../../conformance/wire/packets.js';
import { WirePeer } from '../../conformance/wire/peer.js';
import type { Stage } from './servers.js';

const SESSION = join(process.cwd(), 'test/client/support/stored-session.mjs');
const CONNECT_MS = 20_000;

/** For a store; gone when the test is over. */
export function storeFolder(stage: Stage): string {
  const path = mkdtempSync(join(tmpdir(), 'nidomq-client-store-'));
  stage.onStop(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Runs a script of Node, no longer than the test. */
export function startScript(stage: Stage, script: string, ...words: (string | number)[]): Child {
  const child = startChild([script, ...words.map(String)]);
  stage.onStop(() => killed(child));
  return child;
}
async function killed(child: Child): Promise<void> {
  child.signal('SIGKILL');
  await child.ended;
}

export interface Greeted {
  readonly peer: WirePeer;
  readonly connect: Sent;
}
export interface Running extends Greeted {
  readonly child: Child;
}

/** A server that says what the test writes. */
export class Script {
  readonly #arrived: WirePeer[] = [];
  readonly #waiting: ((peer: WirePeer) => void)[] = [];
  url = '';

  constructor(private readonly stage: Stage, readonly version: Version) {}

  async listen(): Promise<this> {
    const server = createServer((socket) => {
      const peer = WirePeer.over(socket, this.version, readSent);
      this.stage.onStop(() => peer.cut());
      const taker = this.#waiting.shift();
      if (taker === undefined) this.#arrived.push(peer);
      else taker(peer);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    this.stage.onStop(() => server.close());
    this.url = `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return this;
  }

  async greet(session: 'new' | 'present'): Promise<Greeted> {
    const peer = this.#arrived.shift()
      ?? await new Promise<WirePeer>((resolve) => this.#waiting.push(resolve));
    const sent = await peer.expectPacket('CONNECT', {}, CONNECT_MS) as Sent;
    peer.send(connack(this.version, { sessionPresent: session === 'present' }));
    return { peer, connect: sent };
  }
}

export type Doing = 'publish' | 'resume' | 'handle' | 'hang';

/** One store, and the process that has it now. */
export class StoredProcess {
  readonly #path: string;
  readonly #script: Script;
  #child: Child | undefined;

  constructor(private readonly stage: Stage, readonly version: Version) {
    this.#path = storeFolder(stage);
    this.#script = new Script(stage, version);
  }

  /** The first process, greeted by the server. */
  async begin(doing: Doing, session: 'new' | 'present' = 'new'): Promise<Running> {
    await this.#script.listen();
    return this.#start(doing, session);
  }
  /** The process is killed; the next one, greeted. */
  async again(doing: Doing, session: 'new' | 'present'): Promise<Running> {
    await killed(this.#child!);
    return this.#start(doing, session);
  }
  async #start(doing: Doing, session: 'new' | 'present'): Promise<Running> {
    const { url } = this.#script;
    const child = startScript(this.stage, SESSION, url, this.#path, this.version, doing);
    this.#child = child;
    return { child, ...await this.#script.greet(session) };
  }

  /** Answers the SUBSCRIBE of a process that handles. */
  async subscribed(peer: WirePeer): Promise<void> {
    const { packetId } = await peer.expectPacket('SUBSCRIBE');
    peer.send(suback(this.version, packetId, [2]));
  }
}
