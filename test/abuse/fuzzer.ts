/**
 * A fuzzer for the running broker. Clients that are wrong by seed, over TCP and WebSocket: first
 * packets of strangers, single packets whose verdict a second parser knows, and streams cut
 * anywhere. A good pair exchanges messages all the time and must not notice.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { WebSocket, createWebSocketStream } from 'ws';
import type { Broker } from '../../lib/index.js';
import * as build from '../conformance/wire/packets.js';
import type { Version } from '../conformance/wire/packets.js';
import { WirePeer } from '../conformance/wire/peer.js';
import { readPacket as readReply } from '../conformance/wire/reader.js';
import type { Reply } from '../conformance/wire/reader.js';
import { PacketMaker, randomBySeed } from '../support/random-packets.js';
import { readFrame, readPacket } from '../support/twin-parser.js';
import { Witness } from './witness.js';

/** A server may send these in DISCONNECT or CONNACK to say what was wrong. */
const FAILURE = 0x80;
const MALFORMED = 0x81;
const PROTOCOL_ERROR = 0x82;
const CONNECT = 1;
/** A second CONNECT, CONNACK, SUBACK, UNSUBACK, PINGRESP. */
const NOT_FROM_CLIENTS = [CONNECT, 2, 9, 11, 13];
/** Only so that a test ends; what is late is told by a Witness. */
const REPLY_MS = 60_000;
const STREAM_PACKETS_MAX = 12;
const SLICES_MAX = 6;
/** Between two messages of the good pair. */
const PACE_MS = 2;

export interface FuzzTarget {
  readonly broker: Broker;
  readonly port: number;
  readonly webSocketPort: number;
}

export interface FuzzReport {
  cases: number;
  packets: number;
  webSocket: number;
  /** Single packets whose Reason Code was compared with the second parser's. */
  compared: number;
  /** By packet type. */
  readonly types: number[];
  /** By Reason Code of DISCONNECT or CONNACK. */
  readonly codes: Map<number, number>;
  /** Property identifiers that stood in what was sent. */
  readonly properties: Set<number>;
  readonly complaints: string[];
}

export class Fuzzer {
  readonly report: FuzzReport = {
    cases: 0, packets: 0, webSocket: 0, compared: 0, types: new Array<number>(16).fill(0),
    codes: new Map(), properties: new Set(), complaints: [],
  };
  private readonly random: () => number;
  private readonly maker: PacketMaker;
  private entered = 0;

  constructor(readonly target: FuzzTarget, readonly seed: number) {
    this.random = randomBySeed(seed ^ 0x5eed);
    this.maker = new PacketMaker(seed);
  }

  /** So many cases, some of them at a time. */
  async run(cases: number, atOnce = 16): Promise<FuzzReport> {
    while (this.report.cases < cases) {
      const size = Math.min(atOnce, cases - this.report.cases);
      await Promise.all(Array.from({ length: size }, () => this.one()));
      this.report.cases += size;
    }
    return this.report;
  }

  private async one(): Promise<void> {
    const kind = this.below(10);
    const version = [3, 4, 5, 5][this.below(4)] as Version;
    try {
      if (kind < 6) await this.single(version);
      else if (kind < 8) await this.stranger(version);
      else await this.stream(version);
    } catch (error) {
      const what = `seed ${this.seed}, case ${kind}, version ${version}`;
      this.report.complaints.push(`${what}: ${(error as Error).message}`);
    }
  }

  /** One packet of a client that is in; its verdict is known. */
  private async single(version: Version): Promise<void> {
    const peer = await this.enter(version);
    const bytes = this.packetFor(version);
    const expected = verdictOf(bytes, version);
    peer.send(...this.sliced(bytes), build.pingreq());
    const replies = expected === 'unknown' ? [] : await this.untilSettled(peer);
    if (expected !== 'unknown') this.compare({ bytes, version, expected, replies, peer });
    peer.cut();
  }

  private compare(seen: {
    readonly bytes: Buffer; readonly version: Version; readonly expected: number;
    readonly replies: readonly Reply[]; readonly peer: WirePeer;
  }): void {
    const { bytes, version, expected, replies, peer } = seen;
    this.report.compared += 1;
    const last = replies.at(-1);
    this.noteCode(last);
    const what = `version ${version}, ${bytes.toString('hex')}, verdict 0x${expected.toString(16)}`;
    if (expected >= FAILURE && !peer.closed) {
      this.report.complaints.push(`${what}: the connection went on`);
    }
    if (expected < FAILURE || version < 5) return;
    // Here it is wrong in two ways: the packet itself, and that it comes at all.
    const isOutOfPlace = NOT_FROM_CLIENTS.includes(bytes[0] >> 4);
    const allowed = isOutOfPlace ? [expected, PROTOCOL_ERROR] : [expected];
    if (last?.name !== 'DISCONNECT' || !allowed.includes(last.reasonCode)) {
      const got = last === undefined ? 'nothing' : `${last.name} ${last.reasonCode.toString(16)}`;
      this.report.complaints.push(`${what}: answered with ${got}`);
    }
  }

  /** Rubbish, or a CONNECT with something wrong, as the first that comes. */
  private async stranger(version: Version): Promise<void> {
    const peer = await this.open(version, anything);
    const count = 1 + this.below(3);
    const first = this.below(2) === 0 ? this.packetOf(CONNECT) : this.packetFor(version);
    peer.send(...this.sliced(first));
    for (let at = 1; at < count; at += 1) peer.send(...this.sliced(this.packetFor(version)));
    if (this.below(2) === 0) peer.cut();
    else await this.leave(peer);
  }

  /** Many packets, cut into pieces anywhere, and the end anywhere. */
  private async stream(version: Version): Promise<void> {
    const peer = await this.enter(version);
    const count = 1 + this.below(STREAM_PACKETS_MAX);
    const parts = Array.from({ length: count }, () => this.packetFor(version));
    const bytes = Buffer.concat(parts);
    const end = this.below(4) === 0 ? this.below(bytes.length + 1) : bytes.length;
    for (const slice of this.sliced(bytes.subarray(0, end))) {
      peer.send(slice);
      if (this.below(3) === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    if (this.below(2) === 0) peer.cut();
    else await this.leave(peer);
  }

  /** The peer ends it; whether the broker has closed by then is its business. */
  private async leave(peer: WirePeer): Promise<void> {
    if (!peer.closed) peer.socket.end();
    this.noteCode((await peer.expectClosed(REPLY_MS)).at(-1));
  }

  /** Everything until PINGRESP or the end. */
  private async untilSettled(peer: WirePeer): Promise<Reply[]> {
    const replies: Reply[] = [];
    for (;;) {
      try {
        replies.push(await peer.next(REPLY_MS));
      } catch (error) {
        if (peer.closed) return replies;
        const transcript = peer.transcript.join(' | ');
        throw new Error(`${(error as Error).message}: ${transcript}`, { cause: error });
      }
      const last = replies.at(-1)!;
      if (last.name === 'PINGRESP') return replies;
      if (last.name === 'DISCONNECT') {
        await peer.expectClosed(REPLY_MS);
        return replies;
      }
    }
  }

  private async enter(version: Version): Promise<WirePeer> {
    const peer = await this.open(version);
    peer.send(build.connect({ version, clientId: `fuzz${(this.entered += 1)}` }));
    const connack = await peer.next(REPLY_MS);
    if (connack.name === 'CONNACK' && connack.reasonCode === 0) return peer;
    throw new Error(`a good CONNECT was answered with ${connack.name} ${connack.reasonCode}`);
  }

  private async open(version: Version, read = readReply): Promise<WirePeer> {
    const { port, webSocketPort } = this.target;
    if (this.below(3) !== 0) {
      const socket = connect(port, '127.0.0.1');
      await once(socket, 'connect');
      return WirePeer.over(socket, version, read);
    }
    this.report.webSocket += 1;
    const socket = new WebSocket(`ws://127.0.0.1:${webSocketPort}/mqtt`, 'mqtt');
    await once(socket, 'open');
    const duplex = createWebSocketStream(socket);
    duplex.once('end', () => duplex.destroy()); // else it waits for its own end
    const pipe = Object.assign(duplex, { setNoDelay: () => undefined }) as unknown as Socket;
    return WirePeer.over(pipe, version, read);
  }

  private packetFor(version: Version): Buffer {
    for (let attempt = 0; attempt < 20; attempt += 1) {
      const { bytes, version: made } = this.maker.next();
      if (made === version) return this.noted(bytes);
    }
    return this.packetOf(1 + this.below(15));
  }
  private packetOf(type: number): Buffer {
    return this.noted(this.maker.next(type).bytes);
  }
  private noted(bytes: Uint8Array): Buffer {
    this.report.packets += 1;
    this.report.types[bytes[0] >> 4] += 1;
    for (const id of bytes.subarray(2)) this.report.properties.add(id);
    return Buffer.from(bytes);
  }
  private noteCode(reply: Reply | undefined): void {
    if (reply?.name !== 'DISCONNECT' && reply?.name !== 'CONNACK') return;
    const { codes } = this.report;
    codes.set(reply.reasonCode, (codes.get(reply.reasonCode) ?? 0) + 1);
  }

  private sliced(bytes: Buffer): Buffer[] {
    const slices: Buffer[] = [];
    let rest = bytes;
    for (let left = this.below(SLICES_MAX); left > 0 && rest.length > 1; left -= 1) {
      const at = 1 + this.below(rest.length - 1);
      slices.push(rest.subarray(0, at));
      rest = rest.subarray(at);
    }
    return [...slices, rest];
  }
  private below(limit: number): number {
    return Math.floor(this.random() * limit);
  }
}

/** Reads nothing: a stranger's CONNECT may name another version than we think. */
const anything = (): undefined => undefined;

/** What the standard says to a packet of a connected client; unknown when it is not whole. */
function verdictOf(bytes: Buffer, version: Version): number | 'unknown' {
  const frame = readFrame(bytes, version);
  if (frame === 'more') return 'unknown';
  if (frame === 'malformed') return MALFORMED;
  const { header, bodyAt, remaining } = frame;
  if (bytes.length !== bodyAt + remaining) return 'unknown';
  return readPacket(header, bytes.subarray(bodyAt), version, 'client').reason;
}

/** Messages without end between two good clients; knows the most that one cost. */
export class GoodPair {
  messages = 0;
  slowestMs = 0;
  /** Most CPU time, and most rounds of an idle echo, while one message was under way. */
  readonly slowest = { cpuMs: 0, rounds: 0 };
  private readonly witness = new Witness();
  private state: 'running' | 'stopping' = 'running';
  private ended: Promise<void> = Promise.resolve();

  constructor(private readonly port: number) {}

  async start(): Promise<void> {
    const endpoint = { host: '127.0.0.1', port: this.port };
    const [receiver, sender] = await Promise.all([
      WirePeer.open(endpoint, 5), WirePeer.open(endpoint, 5),
    ]);
    for (const [name, peer] of [['receiver', receiver], ['sender', sender]] as const) {
      peer.send(build.connect({ version: 5, clientId: `steady-${name}` }));
      await peer.expectPacket('CONNACK', { reasonCode: 0 });
    }
    receiver.send(build.subscribe(5, 1, [['steady/pair', 2]]));
    await receiver.expectPacket('SUBACK');
    await this.witness.start();
    this.ended = this.exchange(sender, receiver).finally(() => {
      this.witness.stop();
      sender.cut();
      receiver.cut();
    });
    this.ended.catch(() => undefined); // told by `stop`
  }

  /** Rejects when a message was lost, changed, repeated or late. */
  stop(): Promise<void> {
    this.state = 'stopping';
    return this.ended;
  }

  private async exchange(sender: WirePeer, receiver: WirePeer): Promise<void> {
    while (this.state === 'running') {
      const qos = this.messages % 3;
      const packetId = 1 + (this.messages % 60_000);
      const payload = `steady ${this.messages}`;
      const started = performance.now();
      const before = this.witness.mark();
      sender.send(build.publish({ version: 5, topic: 'steady/pair', payload, qos, packetId }));
      const got = await receiver.expectPacket('PUBLISH', { payload, qos }, REPLY_MS);
      if (qos === 1) {
        receiver.send(build.puback(got.packetId));
        await sender.expectPacket('PUBACK', { packetId }, REPLY_MS);
      } else if (qos === 2) {
        await this.finish(sender, receiver, { packetId, receivedId: got.packetId });
      }
      this.messages += 1;
      this.slowestMs = Math.max(this.slowestMs, performance.now() - started);
      const { cpuMs, rounds } = this.witness.since(before);
      this.slowest.cpuMs = Math.max(this.slowest.cpuMs, Math.round(cpuMs));
      this.slowest.rounds = Math.max(this.slowest.rounds, rounds);
      for (const peer of [sender, receiver]) peer.transcript.length = 0;
      await new Promise((resolve) => setTimeout(resolve, PACE_MS)); // leaves time for the others
    }
  }

  private async finish(
    sender: WirePeer, receiver: WirePeer,
    { packetId, receivedId }: { readonly packetId: number; readonly receivedId: number },
  ): Promise<void> {
    await sender.expectPacket('PUBREC', { packetId }, REPLY_MS);
    sender.send(build.pubrel(packetId));
    await sender.expectPacket('PUBCOMP', { packetId }, REPLY_MS);
    receiver.send(build.pubrec(receivedId));
    await receiver.expectPacket('PUBREL', { packetId: receivedId }, REPLY_MS);
    receiver.send(build.pubcomp(receivedId));
  }
}
