/**
 * Mount points (ADR 0016): a listener's clients live in a part of the broker's tree of topics and
 * take it for the whole. PUBLISH is the core's business; the names that come as text are mounted
 * here.
 */
import type { ConnectPacket, SubscriptionRequest, WillMessage } from '../core/contract.js';
import { bufferOf } from '../core/views.js';
import type { Door } from './records.js';
import { joinShare } from './topic-text.js';

/** The mount point of who sees every topic. */
export const UNMOUNTED = '';
/** Of a mount point, with what stands for its placeholders. */
export const MOUNT_POINT_BYTES_MAX = 4_096;
const STRING_BYTES_MAX = 65_535;
/** No string of MQTT holds it. */
const SEPARATOR = '\0';
const PLACEHOLDER = /%[cu]/g;

/** What is wrong with the mount point of a listener; undefined = nothing. */
export function mountPointProblem(mountPoint: string): string | undefined {
  if (!mountPoint.endsWith('/')) return 'does not end in /';
  if (/[+#\0]/.test(mountPoint)) return 'holds a wildcard or U+0000';
  if (mountPoint.startsWith('$')) return 'begins with $';
  if (!isEncodable(mountPoint)) return 'is no Unicode text';
  if (Buffer.byteLength(mountPoint) > MOUNT_POINT_BYTES_MAX) return 'is too long';
  const placeholders = mountPoint.split('/').map((level) => level.match(PLACEHOLDER) ?? []);
  // `%u%c`: the clients `c` of `ab` and `bc` of `a` would share one.
  const isCrowded = placeholders.some(({ length }) => length > 1);
  return isCrowded ? 'has two placeholders in one level' : undefined;
}

/** Whether it depends on a User Name: those mean something only where they are proved. */
export function namesUser(mountPoint: string): boolean {
  return mountPoint.includes('%u');
}

interface MountedClient {
  readonly clientId: string;
  readonly username?: string;
}

/** Where this client lives; `refused` says why it can live nowhere. */
function mountPointOf(
  template: string, client: MountedClient,
): { readonly mountPoint: string } | { readonly refused: string } {
  if (template === UNMOUNTED) return { mountPoint: UNMOUNTED };
  const values = { '%c': client.clientId, '%u': client.username ?? '' };
  const wrong = Object.entries(values).find(
    ([name, value]) => template.includes(name) && !isLevel(value),
  );
  if (wrong !== undefined) {
    const whose = wrong[0] === '%c' ? 'Client Identifier' : 'User Name';
    return { refused: `the ${whose} cannot be a level of the mount point` };
  }
  const mountPoint = template.replace(PLACEHOLDER, (name) => values[name as keyof typeof values]);
  const bytes = Buffer.byteLength(mountPoint);
  const isTooLong = bytes > MOUNT_POINT_BYTES_MAX ||
    Buffer.byteLength(client.clientId) + bytes + SEPARATOR.length > STRING_BYTES_MAX;
  if (isTooLong) return { refused: 'the mount point is too long' };
  if (mountPoint.startsWith('$')) return { refused: 'the mount point would begin with $' };
  return { mountPoint };
}

/** One level of a topic, no more and no less. */
function isLevel(value: string): boolean {
  return value !== '' && !/[+#/\0]/.test(value) && isEncodable(value);
}

/** Lone surrogates of two different names would become the same bytes. */
function isEncodable(text: string): boolean {
  return Buffer.from(text).toString() === text;
}

/** The broker's name of a client's Topic Name or Topic Filter (without share). */
export function mounted(mountPoint: string, name: string): string {
  // What begins with $ still does: no wildcard in the first level finds it [MQTT-4.7.2-1].
  if (mountPoint === UNMOUNTED) return name;
  return name.startsWith('$') ? `$${mountPoint}${name}` : mountPoint + name;
}

export function isTooLong(name: string): boolean {
  return name.length * 3 > STRING_BYTES_MAX && Buffer.byteLength(name) > STRING_BYTES_MAX;
}

export function mountedRequest(
  mountPoint: string, request: SubscriptionRequest,
): SubscriptionRequest {
  if (mountPoint === UNMOUNTED) return request;
  const filter = mounted(mountPoint, request.filter);
  return { ...request, filter, topicFilter: joinShare({ ...request, filter }) };
}

/** Where a client that asks to come in lives, and its will by the broker's names. */
export function mountConnect(
  connection: { readonly door: Door; readonly clientId: string },
  packet: ConnectPacket,
  username: string | undefined,
): { readonly mountPoint: string; readonly will?: WillMessage } | { readonly refused: string } {
  const place = mountPointOf(connection.door.mountPoint, {
    clientId: connection.clientId, username,
  });
  if ('refused' in place || packet.will === undefined) return place;
  const will = mountedWill(place.mountPoint, packet.will);
  return will === undefined
    ? { refused: 'the topics of the will are too long behind the mount point' }
    : { ...place, will };
}

/** undefined: its topics are too long there. */
function mountedWill(mountPoint: string, will: WillMessage): WillMessage | undefined {
  if (mountPoint === UNMOUNTED) return will;
  const { responseTopic } = will.properties;
  const topicName = mounted(mountPoint, will.topicName);
  const response = responseTopic === undefined ? undefined : mounted(mountPoint, responseTopic);
  if (isTooLong(topicName) || isTooLong(response ?? '')) return undefined;
  if (response === undefined) return { ...will, topicName };
  return { ...will, topicName, properties: { ...will.properties, responseTopic: response } };
}

/**
 * A session belongs to its mount point: clients with the same identifier behind different ones are
 * strangers. The key of an unmounted one is its Client Identifier, also in what is stored.
 */
export function sessionKey(mountPoint: string, clientId: string): string {
  return mountPoint === UNMOUNTED ? clientId : mountPoint + SEPARATOR + clientId;
}

export function splitSessionKey(key: string): { mountPoint: string; clientId: string } {
  const at = key.indexOf(SEPARATOR);
  if (at < 0) return { mountPoint: UNMOUNTED, clientId: key };
  return { mountPoint: key.slice(0, at), clientId: key.slice(at + SEPARATOR.length) };
}

/** The mount point of a key as UTF-8: there may be very many, and mostly they have none. */
export function mountPointIn(key: Uint8Array): string {
  let at = 0;
  while (at < key.length && key[at] !== 0) at++;
  return at === key.length ? UNMOUNTED : bufferOf(key.subarray(0, at)).toString();
}

/** Who it is about, for events: a mount point only where there is one. */
export function named(client: { readonly clientId: string; readonly mountPoint: string }): {
  readonly clientId: string; readonly mountPoint?: string;
} {
  const { clientId, mountPoint } = client;
  return mountPoint === UNMOUNTED ? { clientId } : { clientId, mountPoint };
}
