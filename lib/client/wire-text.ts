/** What MQTT allows in a string, for the strings that code of this process gives us. */
const TEXT_BYTES_MAX = 65_535;
/** Below this many UTF-16 units a string cannot be longer than that many bytes. */
const TEXT_UNITS_SAFE = 21_845;
const FORBIDDEN = /\0|\p{Surrogate}/u;

/** Why this cannot be a UTF-8 Encoded String; undefined when it can. */
export function textProblem(text: unknown): string | undefined {
  if (typeof text !== 'string') return 'is not a string';
  // [MQTT-1.5.3-1] [MQTT-1.5.3-2] [MQTT-1.5.4-1] [MQTT-1.5.4-2]
  if (FORBIDDEN.test(text)) return 'holds U+0000 or a lone surrogate';
  if (text.length > TEXT_UNITS_SAFE && Buffer.byteLength(text) > TEXT_BYTES_MAX) {
    return `is longer than ${TEXT_BYTES_MAX} bytes`;
  }
  return undefined;
}

/** Any text as one that MQTT allows: what it does not is replaced, and the end is cut off. */
export function mqttText(text: string, unitsMax: number): string {
  return text.slice(0, unitsMax).replaceAll(/\0|\p{Surrogate}/gu, '\ufffd');
}
