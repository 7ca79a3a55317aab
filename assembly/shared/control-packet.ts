/** MQTT Control Packets: the numbers of the fixed header and of CONNECT. Imports nothing. */

// Protocol levels as CONNECT carries them. 3 is MQTT 3.1 (`MQIsdp`), 4 is 3.1.1, 5 is 5.0.
export const VERSION_3_1: u32 = 3;
export const VERSION_3_1_1: u32 = 4;
export const VERSION_5: u32 = 5;
/**
 * Bridges of mosquitto set it in the protocol level of 3.1 and 3.1.1, and come back without it only
 * when they are refused in the form of 3.1.1.
 */
export const LEVEL_OF_BRIDGE: u32 = 0x80;

// Packet types, the upper four bits of the first byte. 0 is reserved everywhere, 15 below version
// 5.
export const CONNECT: u32 = 1;
export const CONNACK: u32 = 2;
export const PUBLISH: u32 = 3;
export const PUBACK: u32 = 4;
export const PUBREC: u32 = 5;
export const PUBREL: u32 = 6;
export const PUBCOMP: u32 = 7;
export const SUBSCRIBE: u32 = 8;
export const SUBACK: u32 = 9;
export const UNSUBSCRIBE: u32 = 10;
export const UNSUBACK: u32 = 11;
export const PINGREQ: u32 = 12;
export const PINGRESP: u32 = 13;
export const DISCONNECT: u32 = 14;
export const AUTH: u32 = 15;

// A set of packet types: bit n is packet type n. Bit 0 stands for the Will Properties of CONNECT.
export const IN_WILL: u32 = 1 << 0;
export const IN_CONNECT: u32 = 1 << 1;
export const IN_CONNACK: u32 = 1 << 2;
export const IN_PUBLISH: u32 = 1 << 3;
export const IN_PUBACK: u32 = 1 << 4;
export const IN_PUBREC: u32 = 1 << 5;
export const IN_PUBREL: u32 = 1 << 6;
export const IN_PUBCOMP: u32 = 1 << 7;
export const IN_SUBSCRIBE: u32 = 1 << 8;
export const IN_SUBACK: u32 = 1 << 9;
export const IN_UNSUBSCRIBE: u32 = 1 << 10;
export const IN_UNSUBACK: u32 = 1 << 11;
export const IN_DISCONNECT: u32 = 1 << 14;
export const IN_AUTH: u32 = 1 << 15;

// Flags of the first byte of PUBLISH.
export const PUBLISH_RETAIN: u32 = 1;
export const PUBLISH_QOS_SHIFT: u32 = 1;
export const PUBLISH_QOS_MASK: u32 = 6;
export const PUBLISH_DUP: u32 = 8;

// Connect Flags.
export const CONNECT_RESERVED: u32 = 1;
export const CONNECT_CLEAN_START: u32 = 2;
export const CONNECT_WILL: u32 = 4;
export const CONNECT_WILL_QOS_SHIFT: u32 = 3;
export const CONNECT_WILL_QOS_MASK: u32 = 0x18;
export const CONNECT_WILL_RETAIN: u32 = 0x20;
export const CONNECT_PASSWORD: u32 = 0x40;
export const CONNECT_USER_NAME: u32 = 0x80;

// Subscription Options of SUBSCRIBE (below version 5 only the QoS).
export const OPTION_QOS_MASK: u32 = 3;
export const OPTION_NO_LOCAL: u32 = 4;
export const OPTION_RETAIN_AS_PUBLISHED: u32 = 8;
export const OPTION_RETAIN_HANDLING_MASK: u32 = 0x30;
export const OPTION_RESERVED_MASK: u32 = 0xc0;

// What readFixedHeader answers.
export const FRAME_MORE: i32 = 0;
export const FRAME_OK: i32 = 1;
export const FRAME_MALFORMED: i32 = 2;
