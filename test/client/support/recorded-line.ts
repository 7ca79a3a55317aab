/**
 * What passed on the connections of a proxy, read by a parser that is not ours, and what must be
 * true of it, whatever the server does. The proxy sees an answer of the server before the client
 * does: a client is asked here for no more than it can know.
 */
import mqttPacket from 'mqtt-packet';
import type { Packet } from 'mqtt-packet';

interface Passed {
  /** Counted over all connections of the proxy. */
  readonly connection: number;
  readonly from: 'client' | 'server';
  readonly packet: Packet;
}

export interface Line {
  client(bytes: Buffer): void;
  server(bytes: Buffer): void;
}

export class Recording {
  readonly #passed: Passed[] = [];
  /** Who said CONNECT, by connection. */
  readonly #clients: string[] = [];

  /** A connection begins. */
  line(): Line {
    const connection = this.#clients.push('') - 1;
    let protocolVersion = 4;
    const reader = (from: Passed['from']): ((bytes: Buffer) => void) => {
      const aliases = new Map<number, string>();
      let parser: ReturnType<typeof mqttPacket.parser> | undefined;
      return (bytes) => {
        parser ??= mqttPacket.parser({ protocolVersion })
          .on('error', (error: Error) => { throw error; })
          .on('packet', (packet: Packet) => {
            if (packet.cmd === 'connect') {
              protocolVersion = packet.protocolVersion ?? 4;
              this.#clients[connection] = packet.clientId;
            }
            if (packet.cmd === 'publish') packet.topic = topicOf(packet, aliases);
            this.#passed.push({ connection, from, packet });
          });
        parser.parse(bytes);
      };
    };
    return { client: reader('client'), server: reader('server') };
  }

  of(clientId: string): readonly Passed[] {
    return this.#passed.filter(({ connection }) => this.#clients[connection] === clientId);
  }
}

function topicOf(packet: mqttPacket.IPublishPacket, aliases: Map<number, string>): string {
  const alias = packet.properties?.topicAlias;
  if (alias === undefined) return packet.topic;
  if (packet.topic !== '') aliases.set(alias, packet.topic);
  return aliases.get(alias)!;
}

interface Sent {
  readonly topic: string;
  readonly number: number;
  readonly packetIdentifier: number;
  state: 'sent' | 'acknowledged' | 'released';
}

export interface Written {
  readonly messages: number;
  /** Transmissions with DUP. */
  readonly again: number;
}

/**
 * What a client wrote that publishes rising numbers. Before a message leaves, all before it on its
 * topic have left on the same connection, or the server has answered them; none leaves twice on
 * a connection, or after its PUBREL; PUBRELs leave in the order of the PUBRECs.
 * [MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-4.6.0-4]
 */
export function writtenInOrder(passed: readonly Passed[]): Written {
  const topics = new Map<string, Sent[]>();
  const underWay = new Map<number, Sent>();
  let onThisConnection = new Set<Sent>();
  /** When the last PUBREC for a Packet Identifier came. */
  const received = new Map<number, number>();
  let lastReleased = -1;
  let connection = -1;
  let again = 0;

  const publish = (packet: mqttPacket.IPublishPacket): void => {
    const number = Number(packet.payload.toString());
    const packetIdentifier = packet.messageId!;
    const before = topics.get(packet.topic) ?? [];
    topics.set(packet.topic, before);
    let sent = before.find((other) => other.number === number);
    const name = `${packet.topic} ${number}`;
    if (sent === undefined) {
      sent = { topic: packet.topic, number, packetIdentifier, state: 'sent' };
      const busy = underWay.get(packetIdentifier);
      check(busy === undefined, `${name} has the Packet Identifier of ${busy?.number}`);
      check((before.at(-1)?.number ?? -1) < number, `${name} comes after ${before.at(-1)?.number}`);
      before.push(sent);
    } else {
      check(packet.dup, `${name} leaves again without DUP`);
      check(!onThisConnection.has(sent), `${name} leaves twice on a connection`);
      check(sent.packetIdentifier === packetIdentifier, `${name} has a new Packet Identifier`);
      check(sent.state !== 'released', `${name} leaves again after its PUBREL`);
    }
    if (packet.dup) again += 1;
    for (const other of before) {
      if (other.number >= number) break;
      check(onThisConnection.has(other) || other.state !== 'sent',
        `${name} leaves before ${other.number}, which nobody has answered`);
    }
    onThisConnection.add(sent);
    underWay.set(packetIdentifier, sent);
  };
  const release = (packetIdentifier: number): void => {
    const sent = underWay.get(packetIdentifier);
    check(sent !== undefined && sent.state !== 'sent', `PUBREL ${packetIdentifier} without PUBREC`);
    sent!.state = 'released';
    const order = received.get(packetIdentifier)!;
    check(order > lastReleased, `PUBREL ${packetIdentifier} is out of order`);
    lastReleased = order;
  };

  for (const [at, { connection: its, from, packet }] of passed.entries()) {
    if (its !== connection) {
      check(its > connection, 'the client speaks on a connection that it has left');
      connection = its;
      onThisConnection = new Set();
      lastReleased = -1;
    }
    const packetIdentifier = packet.messageId!;
    if (from === 'client') {
      if (packet.cmd === 'publish') publish(packet);
      if (packet.cmd === 'pubrel') release(packetIdentifier);
    } else if (packet.cmd === 'puback' || packet.cmd === 'pubrec') {
      const sent = underWay.get(packetIdentifier);
      if (sent?.state === 'sent') sent.state = 'acknowledged';
      if (packet.cmd === 'pubrec') received.set(packetIdentifier, at);
      else underWay.delete(packetIdentifier);
    } else if (packet.cmd === 'pubcomp') {
      underWay.delete(packetIdentifier);
    }
  }
  return { messages: [...topics.values()].flat().length, again };
}

export interface Transmission {
  readonly number: number;
  /** The server had said PUBREL for it: it may not send it again. [MQTT-4.3.3-1] */
  readonly isReleased: boolean;
}

/**
 * What the server sent to a client, by topic and connection, in its order; and that the client
 * acknowledged it in that order. [MQTT-4.6.0-2] [MQTT-4.6.0-3]
 */
export function receivedInOrder(passed: readonly Passed[]): Map<string, Transmission[][]> {
  const topics = new Map<string, Transmission[][]>();
  const owed = { 1: [] as number[], 2: [] as number[] };
  const released = new Map<number, string>();
  const underWay = new Map<number, string>();
  let connection = -1;
  let connections = -1;
  for (const { connection: its, from, packet } of passed) {
    if (its !== connection) {
      connection = its;
      connections += 1;
      owed[1] = [];
      owed[2] = [];
    }
    const packetIdentifier = packet.messageId!;
    if (from === 'server' && packet.cmd === 'publish') {
      const number = Number(packet.payload.toString());
      const name = `${packet.topic} ${number}`;
      const lists = topics.get(packet.topic) ?? [];
      topics.set(packet.topic, lists);
      const isReleased = released.get(packetIdentifier) === name;
      (lists[connections] ??= []).push({ number, isReleased });
      underWay.set(packetIdentifier, name);
      if (packet.qos !== 0) owed[packet.qos].push(packetIdentifier);
    } else if (from === 'server' && packet.cmd === 'pubrel') {
      released.set(packetIdentifier, underWay.get(packetIdentifier) ?? '');
    } else if (from === 'client' && (packet.cmd === 'puback' || packet.cmd === 'pubrec')) {
      const next = owed[packet.cmd === 'puback' ? 1 : 2].shift();
      check(next === packetIdentifier, `${packet.cmd} ${packetIdentifier} instead of ${next}`);
    }
  }
  return topics;
}

/**
 * Whether `told` is what a client tells its handlers that read some beginning of what was sent on
 * each connection: all of it in its order; with QoS 2 each number once, unless the server sent it
 * again after PUBREL, when it is a new message for whoever has read that. [MQTT-4.3.3-2]
 */
export function isToldInOrder(
  told: readonly number[], sent: readonly (readonly Transmission[] | undefined)[], qos: 1 | 2,
): boolean {
  /** How much of `told` may have been told when a connection ends. */
  const possible = new Set([0]);
  for (const transmissions of sent) {
    let reading = new Set(possible);
    for (const { number, isReleased } of transmissions ?? []) {
      const next = new Set<number>();
      for (const at of reading) {
        const first = told.indexOf(number);
        const isKnown = qos === 2 && first >= 0 && first < at;
        if (isKnown) next.add(at);
        if ((!isKnown || isReleased) && told[at] === number) next.add(at + 1);
      }
      for (const at of next) possible.add(at);
      reading = next;
    }
  }
  return possible.has(told.length);
}

function check(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}
