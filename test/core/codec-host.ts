/** The codec alone, compiled for its tests, behind calls that take and answer bytes. */
import type { Fields, Frame, Sender, Verdict } from '../support/twin-parser.js';
import { compiled } from './compiled.js';

/** Behind a packet lies what would do harm if it were read as part of it. Its start varies. */
const BEYOND = Buffer.from('2b2300ff8001002f'.repeat(8), 'hex');
const BEYOND_STARTS = 8;
const INPUT_PAGES = 4;
const FORWARDED_AT = 8;
const SLOTS_AT = 16;
const PROPERTY_LAST = 42;
const NUMBER_PROPERTIES = [1, 2, 17, 19, 23, 24, 25, 33, 34, 35, 36, 37, 39, 40, 41, 42];
const FRAME_MORE = 0;
const FRAME_OK = 1;

type Call = (...words: number[]) => number;
interface Exports {
  readonly [name: string]: Call & { readonly value: number };
}
interface Memory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

export function compileCodec(): WebAssembly.Module {
  return compiled('codec');
}

export class CodecHost {
  readonly call: Exports;
  private readonly memory: Memory;
  private readonly at: number;
  private readonly view: DataView;

  constructor(module: WebAssembly.Module) {
    this.call = new WebAssembly.Instance(module, {
      env: { abort: () => { throw new Error('the core aborted'); } },
    }).exports as unknown as Exports;
    this.at = this.call.inputAt();
    this.memory = this.call.memory as unknown as Memory;
    this.memory.grow(INPUT_PAGES);
    this.view = new DataView(this.memory.buffer);
  }

  /** Writes bytes, and behind them harm, and answers where they are. */
  put(bytes: Uint8Array): number {
    const memory = new Uint8Array(this.memory.buffer);
    memory.set(bytes, this.at);
    memory.set(BEYOND.subarray(bytes.length % BEYOND_STARTS), this.at + bytes.length);
    return this.at;
  }

  bytes(at: number, length: number): Buffer {
    return Buffer.from(this.memory.buffer, at, length);
  }

  private hexOf(at: number, length: number): string {
    return this.bytes(at, length).toString('hex');
  }

  /** Value of an exported global. */
  get(name: string): number {
    return this.call[name].value;
  }

  frame(bytes: Uint8Array, version: number): Frame {
    const at = this.put(bytes);
    const state = this.call.readHeader(at, at + bytes.length, version);
    if (state === FRAME_MORE) return 'more';
    if (state !== FRAME_OK) return 'malformed';
    return {
      header: this.get('frameHeader'),
      bodyAt: this.get('frameBodyAt') - at,
      remaining: this.get('frameRemaining'),
    };
  }

  packet(header: number, body: Uint8Array, version: number, sender: Sender): Verdict {
    const at = this.put(body);
    const end = at + body.length;
    switch (header >> 4) {
      case 1: return this.answer(this.call.parseConnect(at, end), () => this.connect());
      case 2:
        return this.answer(this.call.parseConnack(at, end, version), () => ({
          sessionPresent: this.get('connackSessionPresent') === 1,
          reasonCode: this.get('connackReasonCode'), ...this.properties(),
        }));
      case 3: {
        const name = sender === 'client' ? 'parsePublish' : 'parsePublishFromServer';
        return this.answer(this.call[name](header, at, end, version), () => this.publish());
      }
      case 8:
        return this.answer(this.call.parseSubscribe(at, end, version), () => this.subscribe());
      case 9: return this.suback(this.call.parseSuback(at, end, version));
      case 10:
        return this.answer(this.call.parseUnsubscribe(at, end, version), () => this.unsubscribe());
      case 11: return this.suback(this.call.parseUnsuback(at, end, version));
      case 12: case 13: return { reason: 0, fields: {} };
      case 14: {
        const name = sender === 'client' ? 'parseDisconnect' : 'parseDisconnectFromServer';
        return this.answer(this.call[name](at, end, version), () => ({
          reasonCode: this.get('disconnectReasonCode'),
          sessionExpiry: this.get('disconnectSessionExpiry'), ...this.properties(),
        }));
      }
      case 15:
        return this.answer(this.call.parseAuth(at, end), () => ({
          reasonCode: this.get('authReasonCode'), ...this.properties(),
        }));
      default:
        return this.answer(this.call.parseAcknowledgement(header >> 4, at, end, version), () => ({
          packetIdentifier: this.get('ackPacketIdentifier'),
          reasonCode: this.get('ackReasonCode'), ...this.properties(),
        }));
    }
  }

  private answer(reason: number, fields: () => Fields): Verdict {
    return reason === 0 ? { reason, fields: fields() } : { reason };
  }

  private properties(record = this.call.propertyRecord()): { properties: Fields } {
    const present = this.view.getBigUint64(record, true);
    const values: [number, number | string][] = [];
    const identifiers: number[] = [];
    let userProperties = 0;
    for (let id = 0; id <= PROPERTY_LAST; id++) {
      if (((present >> BigInt(id)) & 1n) === 0n) continue;
      const value = this.view.getUint32(record + SLOTS_AT + id * 8, true);
      const length = this.view.getUint32(record + SLOTS_AT + id * 8 + 4, true);
      if (id === 38) userProperties = value;
      else if (id === 11) identifiers.push(...this.identifiers(length));
      else if (NUMBER_PROPERTIES.includes(id)) values.push([id, value]);
      else values.push([id, this.hexOf(value, length)]);
    }
    return { properties: { values, identifiers, userProperties } };
  }

  private identifiers(count: number): number[] {
    const at = this.get('subscriptionIdentifiers');
    return Array.from({ length: count }, (_, i) => this.view.getUint32(at + i * 4, true));
  }

  private publish(): Fields {
    return {
      topic: this.hexOf(this.get('publishTopicAt'), this.get('publishTopicLength')),
      packetIdentifier: this.get('publishPacketIdentifier'),
      alias: this.get('publishTopicAlias'),
      payload: this.hexOf(this.get('publishPayloadAt'), this.get('publishPayloadLength')),
      expiry: this.get('publishExpiry'), format: this.get('publishPayloadFormat'),
      forwarded: this.hexOf(this.get('publishForwardAt'), this.get('publishForwardLength')),
      ...this.properties(),
    };
  }

  private connect(): Fields {
    const names = ['version', 'flags', 'keepAlive', 'idAt', 'idLength', 'userAt', 'userLength',
      'passwordAt', 'passwordLength', 'at', 'length', 'willQos', 'topicAt', 'topicLength',
      'payloadAt', 'payloadLength', 'willAt', 'willLength'];
    const record = this.call.connectRecord();
    const word = (name: string) => this.view.getUint32(record + names.indexOf(name) * 4, true);
    const field = (name: string) => this.hexOf(word(`${name}At`), word(`${name}Length`));
    const will = this.call.willPropertyRecord();
    const forwardedAt = this.view.getUint32(will + FORWARDED_AT, true);
    const forwardedLength = this.view.getUint32(will + FORWARDED_AT + 4, true);
    const flags = word('flags');
    return {
      version: word('version'), flags, willQos: word('willQos'), keepAlive: word('keepAlive'),
      clientIdentifier: field('id'),
      will: (flags & 4) === 0 ? null : {
        topic: field('topic'), payload: field('payload'),
        forwarded: this.hexOf(forwardedAt, forwardedLength), ...this.properties(will),
      },
      userName: (flags & 0x80) === 0 ? null : field('user'),
      password: (flags & 0x40) === 0 ? null : field('password'),
      ...this.properties(),
    };
  }

  private subscribe(): Fields {
    const { properties } = this.properties();
    const identifiers = properties.identifiers as number[];
    // The list is for PUBLISH; here the one identifier is a field of its own.
    properties.identifiers = identifiers.length === 0 ? [] : [this.get('subscribeIdentifier')];
    const entries: Fields[] = [];
    let at = this.get('subscribeFirstAt');
    for (let i = this.get('subscribeCount'); i > 0; i--) {
      at = this.call.nextSubscription(at);
      const filterAt = this.get('subscriptionFilterAt');
      const filterLength = this.get('subscriptionFilterLength');
      const options = this.get('subscriptionOptions');
      entries.push({ raw: this.hexOf(filterAt, filterLength), options,
        ...this.filter(filterAt, filterLength) });
    }
    return { packetIdentifier: this.get('subscribePacketIdentifier'), entries, properties };
  }

  private unsubscribe(): Fields {
    const entries: Fields[] = [];
    let at = this.get('unsubscribeFirstAt');
    for (let i = this.get('unsubscribeCount'); i > 0; i--) {
      at = this.call.nextUnsubscription(at);
      const filterAt = this.get('unsubscriptionFilterAt');
      const filterLength = this.get('unsubscriptionFilterLength');
      entries.push({ raw: this.hexOf(filterAt, filterLength),
        ...this.filter(filterAt, filterLength) });
    }
    return { packetIdentifier: this.get('unsubscribePacketIdentifier'), entries,
      ...this.properties() };
  }

  /** What parseTopicFilter finds in a valid filter. */
  private filter(at: number, length: number): Fields {
    this.call.parseTopicFilter(at, length);
    return {
      shareName: this.bytes(this.get('shareNameAt'), this.get('shareNameLength')).toString(),
      filter: this.bytes(this.get('filterAt'), this.get('filterLength')).toString(),
      levels: this.get('filterLevels'), hasWildcard: this.get('filterHasWildcard') === 1,
    };
  }

  private suback(reason: number): Verdict {
    return this.answer(reason, () => ({
      packetIdentifier: this.get('subackPacketIdentifier'),
      codes: [...this.bytes(this.get('subackCodesAt'), this.get('subackCodesLength'))],
      ...this.properties(),
    }));
  }
}
