/**
 * Control Packets by seed: mostly right, often wrong in one place, sometimes damaged on the way.
 * They are wrong in what real peers get wrong: lengths, flags, strings, wildcards, properties.
 */
import { PROPERTY_ROWS } from './twin-parser.js';

export interface RandomPacket {
  readonly version: number;
  readonly bytes: Uint8Array;
}

/** mulberry32: small, good enough, the same everywhere. */
export function randomBySeed(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const GOOD_STRINGS = ['a', 'sensors/1', 'é', '日本/温度', 'x😀y', '\ufeffbom', 'a/b/c/d/e/f/g/h/i',
  'exactly16bytes!!', 'seventeen bytes!!', '/',
  'a name of more than thirty-two bytes, with é in it'];
const BAD_STRINGS = ['00', '610062', 'c080', 'c1bf', 'e08080', 'eda080', 'f0808080', 'f4908080',
  'f5808080', 'ff', '80', 'c3', 'e282', 'f09f98', '6161616161616161616161616161616161ff', 'c328'];
const NAMES = [...GOOD_STRINGS, ...GOOD_STRINGS, '', 'a/+', '#', '日本/+', 'a/b#', '$SYS/x'];
const FILTERS = ['#', 'a/#', '+/b', '+', '/', '//', 'a/+/b/#', '$share/g/a/#', '$share/group/+',
  '$share/日本/a', '$SYS/#', '$share', '$shared/a/b', ...GOOD_STRINGS];
const BAD_FILTERS = ['', 'a+', '+a', 'a/#/b', '#/', 'a#', '$share/', '$share//a', '$share/g',
  '$share/g/', '$share/g+/a', '$share/#/a', '$share/g/a+', '$share/g/#/b', '++'];
const TYPE_NAMES = ['', 'connect', 'connack', 'publish', 'puback', 'pubrec', 'pubrel', 'pubcomp',
  'subscribe', 'suback', 'unsubscribe', 'unsuback', 'pingreq', 'pingresp', 'disconnect', 'auth'];
const CODES = [0, 0, 0, 0, 1, 2, 4, 0x10, 0x11, 0x18, 0x19, 0x80, 0x81, 0x83, 0x87, 0x8f, 0x92,
  0x97, 0x9e, 0xa2, 3, 0x7f, 0xa3, 0xff];

export class PacketMaker {
  private readonly random: () => number;

  constructor(seed: number) {
    this.random = randomBySeed(seed);
  }

  /** The next packet; `type` 1 to 15, or any. */
  next(type = this.below(15) + 1): RandomPacket {
    const version = this.pick([3, 4, 4, 5, 5, 5]);
    const packet = this.build(type, version);
    if (this.chance(0.35)) packet.body = this.damage(packet.body);
    let header = (type << 4) | packet.flags;
    if (this.chance(0.02)) header ^= 1 << this.below(8);
    const length = vbi(packet.body.length);
    if (this.chance(0.01)) length.push(length.pop()! | 128, 0);
    let bytes = Uint8Array.from([header, ...length, ...packet.body]);
    if (this.chance(0.05)) bytes = Uint8Array.from(this.damage([...bytes]));
    return { version, bytes };
  }

  private below(limit: number): number {
    return Math.floor(this.random() * limit);
  }
  private chance(probability: number): boolean {
    return this.random() < probability;
  }
  private pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }
  private number(bytes: number): number[] {
    const byte = this.chance(0.3) ? () => this.pick([0, 0, 1, 255]) : () => this.below(256);
    return Array.from({ length: bytes }, byte);
  }
  private binary(bytes: ArrayLike<number>): number[] {
    return [bytes.length >> 8, bytes.length & 255, ...Array.from(bytes)];
  }
  private string(texts = GOOD_STRINGS): number[] {
    if (this.chance(0.04)) return this.binary(Buffer.from(this.pick(BAD_STRINGS), 'hex'));
    if (this.chance(0.02)) return this.binary(Buffer.from('long/'.repeat(this.below(60))));
    return this.binary(Buffer.from(this.pick(texts)));
  }
  private filter(): number[] {
    return this.string(this.chance(0.06) ? BAD_FILTERS : FILTERS);
  }
  private identifier(): number[] {
    return this.chance(0.03) ? [0, 0] : [this.below(256), this.below(255) + 1];
  }
  private many(make: () => number[]): number[] {
    const count = this.chance(0.03) ? 0 : 1 + this.below(4);
    return Array.from({ length: count }, make).flat();
  }

  private properties(packet: string): number[] {
    const allowed = PROPERTY_ROWS.filter((row) => row.packets.includes(packet));
    const used = new Set<number>();
    const bytes: number[] = [];
    for (let left = this.chance(0.4) ? 0 : this.below(7); left > 0; left--) {
      const row = this.pick(this.chance(0.02) ? PROPERTY_ROWS : allowed);
      const isRepeatable = row.id === 38 || (row.id === 11 && packet === 'publish');
      if (used.has(row.id) && !isRepeatable && !this.chance(0.02)) continue;
      used.add(row.id);
      bytes.push(row.id, ...this.propertyValue(row.type, row.special, row.id));
    }
    return [...vbi(bytes.length), ...bytes];
  }

  private propertyValue(type: string, special: string, id: number): number[] {
    if (special.includes('f') && !this.chance(0.03)) return [this.below(2)];
    const mayBeZero = !special.includes('n') || this.chance(0.03);
    switch (type) {
      case 'byte': return this.number(1);
      case 'two': return mayBeZero ? this.number(2) : this.identifier();
      case 'four': return mayBeZero ? this.number(4) : [...this.number(3), this.below(255) + 1];
      case 'variable': return vbi(this.pick([mayBeZero ? 0 : 7, 1, 127, 128, 16384, 268435455]));
      case 'binary': return this.binary(this.number(this.below(20)));
      case 'string': return this.string(id === 8 && this.chance(0.1) ? NAMES : GOOD_STRINGS);
      default: return [...this.string(), ...this.string()];
    }
  }

  private build(type: number, version: number): { flags: number; body: number[] } {
    const name = TYPE_NAMES[type];
    const hasProperties = version === 5 && !name.startsWith('ping');
    const properties = hasProperties ? this.properties(name) : [];
    switch (name) {
      case 'connect': return { flags: 0, body: this.connect(version) };
      case 'connack': return { flags: 0,
        body: [this.pick([0, 0, 1, 2]), ...this.code(), ...properties] };
      case 'publish': return this.publish(properties);
      case 'subscribe': return { flags: 2, body: [...this.identifier(), ...properties,
        ...this.many(() => [...this.filter(), this.options(version)])] };
      case 'unsubscribe': return { flags: 2, body: [...this.identifier(), ...properties,
        ...this.many(() => this.filter())] };
      case 'suback': return { flags: 0, body: [...this.identifier(), ...properties,
        ...this.many(() => this.code())] };
      case 'unsuback': return { flags: 0, body: [...this.identifier(), ...properties,
        ...(version === 5 ? this.many(() => this.code()) : [])] };
      case 'pingreq': case 'pingresp': return { flags: 0, body: [] };
      case 'disconnect': case 'auth': return { flags: 0, body: this.maybe(version, properties) };
      default: return { flags: type === 6 ? 2 : 0, body: [...this.identifier(),
        ...this.maybe(version, properties)] };
    }
  }

  private code(): number[] {
    return [this.chance(0.7) ? 0 : this.pick(CODES)];
  }

  private maybe(version: number, properties: number[]): number[] {
    if (version < 5 || this.chance(0.2)) return this.chance(0.02) ? [0] : [];
    return this.chance(0.2) ? this.code() : [...this.code(), ...properties];
  }

  private options(version: number): number {
    if (this.chance(0.04)) return this.below(256);
    return this.below(3) | (version < 5 ? 0 : this.below(4) << 2 | this.below(3) << 4);
  }

  private publish(properties: number[]): { flags: number; body: number[] } {
    const qos = this.below(3);
    const dup = qos > 0 && this.chance(0.3) ? 8 : 0;
    const topic = this.string(this.chance(0.1) ? NAMES : GOOD_STRINGS);
    const payload = this.number(this.below(40));
    return {
      flags: dup | (qos << 1) | this.below(2),
      body: [...topic, ...(qos > 0 ? this.identifier() : []), ...properties, ...payload],
    };
  }

  private connect(version: number): number[] {
    const flags = this.connectFlags(version);
    const name = Buffer.from(version === 3 ? 'MQIsdp' : 'MQTT');
    const level = this.chance(0.02) ? this.below(256) : version;
    const body = [...this.binary(name), level, flags, ...this.number(2)];
    if (version === 5) body.push(...this.properties('connect'));
    body.push(...this.string(this.chance(0.1) ? [''] : GOOD_STRINGS));
    if (flags & 4) {
      if (version === 5) body.push(...this.properties('will'));
      body.push(...this.string(this.chance(0.1) ? NAMES : GOOD_STRINGS));
      body.push(...this.binary(this.number(9)));
    }
    if (flags & 0x80) body.push(...this.string());
    if (flags & 0x40) body.push(...this.binary(this.number(this.below(9))));
    return body;
  }

  private connectFlags(version: number): number {
    if (this.chance(0.05)) return this.below(256);
    const will = this.chance(0.5) ? 4 | (this.below(3) << 3) | (this.below(2) << 5) : 0;
    const credentials = this.pick([0, 0x80, 0xc0, version === 5 ? 0x40 : 0xc0]);
    return will | credentials | (this.below(4) > 0 ? 2 : 0);
  }

  /** A bit flipped, bytes cut, inserted or removed, or a length that lies. */
  private damage(bytes: number[]): number[] {
    const at = this.below(bytes.length + 1);
    const copy = [...bytes];
    const lies = [0, 1, 127, 128, 255, copy.length & 255, (copy.length - at) & 255];
    switch (this.below(7)) {
      case 0: return copy.slice(0, at);
      case 1: copy.splice(at, 0, this.below(256)); return copy;
      case 2: copy.splice(at, 1 + this.below(3)); return copy;
      case 3: copy[at] = this.pick(lies); return copy;
      case 4: return [...copy, ...this.number(1 + this.below(4))];
      case 5: copy[at] = ((copy[at] ?? 0) + this.pick([1, 255])) & 255; return copy;
      default:
        if (copy.length === 0) return copy;
        for (let i = this.below(3); i >= 0; i--) {
          copy[this.below(copy.length)] ^= 1 << this.below(8);
        }
        return copy;
    }
  }
}

export function vbi(value: number): number[] {
  const bytes: number[] = [];
  do {
    const byte = value % 128;
    value = Math.floor(value / 128);
    bytes.push(value > 0 ? byte | 128 : byte);
  } while (value > 0);
  return bytes;
}
