/** Builders for the packets a server sends, byte by byte. */
import { cat, packet, str, u16, u32, u8, vbi } from '../wire/bytes.js';
import { properties, property } from '../wire/packets.js';
import type { Version } from '../wire/packets.js';

/** Properties that only servers send. */
export const serverProperty = {
  ...property,
  assignedClientIdentifier: (text: string): Buffer => cat(u8(0x12), str(text)),
  serverKeepAlive: (seconds: number): Buffer => cat(u8(0x13), u16(seconds)),
  responseInformation: (text: string): Buffer => cat(u8(0x1a), str(text)),
  serverReference: (text: string): Buffer => cat(u8(0x1c), str(text)),
  maximumQos: (value: number): Buffer => cat(u8(0x24), u8(value)),
  retainAvailable: (value: number): Buffer => cat(u8(0x25), u8(value)),
  maximumPacketSize: (value: number): Buffer => cat(u8(0x27), u32(value)),
  wildcardAvailable: (value: number): Buffer => cat(u8(0x28), u8(value)),
  sharedAvailable: (value: number): Buffer => cat(u8(0x2a), u8(value)),
};

export interface ConnackFields {
  readonly sessionPresent?: boolean;
  readonly reasonCode?: number;
  readonly properties?: readonly Buffer[];
}

export function connack(version: Version, fields: ConnackFields = {}): Buffer {
  return packet(
    0x20,
    u8(fields.sessionPresent ? 1 : 0), // Connect Acknowledge Flags
    u8(fields.reasonCode ?? 0), // Return Code or Reason Code
    properties(version, fields.properties),
  );
}

export function suback(
  version: Version, packetId: number, codes: readonly number[], list: readonly Buffer[] = [],
): Buffer {
  return packet(0x90, u16(packetId), properties(version, list), Buffer.from(codes));
}

export function unsuback(version: Version, packetId: number, codes: readonly number[]): Buffer {
  return packet(
    0xb0, u16(packetId), properties(version), version === 5 ? Buffer.from(codes) : Buffer.alloc(0),
  );
}

export const pingresp = (): Buffer => packet(0xd0);

/** A Variable Byte Integer that is one byte longer than it need be. */
export const longVbi = (value: number): Buffer => cat(u8((value & 0x7f) | 0x80), vbi(value >> 7));
