/** Enhanced authentication (MQTT 5): AUTH packets to and fro, before CONNACK and again later. */
import type { Core } from '../core/core.js';
import type { AuthPacket, ConnackFields, ConnectionHandle } from '../core/contract.js';
import { NidoClientError, messageOf } from './errors.js';
import type { AuthenticationData, EnhancedAuthentication } from './options.js';
import {
  CONTINUE_AUTHENTICATION, PACKET_TOO_LARGE, PROTOCOL_ERROR, RE_AUTHENTICATE, SUCCESS,
} from './reason-names.js';
import type { ServerFeatures } from './server-features.js';

export type GiveUp = (connection: ConnectionHandle, error: NidoClientError) => void;

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class AuthExchange {
  #waiting: Waiting | undefined;

  constructor(
    private readonly core: Core,
    private readonly hook: EnhancedAuthentication | undefined,
    private readonly server: () => Pick<ServerFeatures, 'maximumPacketSize'>,
    private readonly giveUp: GiveUp,
  ) {}

  /** Authentication Data of CONNECT. */
  async begin(): Promise<AuthenticationData> {
    try {
      return await this.hook?.start();
    } catch (error) {
      throw failure(error);
    }
  }

  /** CONNACK has come: what is wrong with it. */
  accepted(connack: ConnackFields): NidoClientError | undefined {
    const method = this.hook?.method;
    if (method !== undefined && connack.authenticationMethod !== method) { // [MQTT-4.12.0-5]
      return otherMethod(connack.authenticationMethod, method);
    }
    return this.finish(connack.authenticationData);
  }

  /** The server's last word; an error when the application does not trust it. */
  finish(data: Uint8Array | undefined): NidoClientError | undefined {
    try {
      this.hook?.finish?.(data);
      return undefined;
    } catch (error) {
      return failure(error);
    }
  }

  async again(connection: ConnectionHandle): Promise<void> {
    if (this.hook === undefined || connection === 0 || this.#waiting !== undefined) {
      throw new NidoClientError('NIDO_CLIENT_AUTHENTICATION', this.hook === undefined
        ? 'there is no enhancedAuthentication to repeat'
        : 'not connected, or another re-authentication is under way');
    }
    const done = new Promise<void>((resolve, reject) => { this.#waiting = { resolve, reject }; });
    try {
      this.#send(connection, RE_AUTHENTICATE, await this.begin());
    } catch (error) {
      this.#waiting = undefined;
      throw error;
    }
    return done;
  }

  receive(connection: ConnectionHandle, packet: AuthPacket): void {
    if (this.hook === undefined) { // [MQTT-4.12.0-7]
      this.giveUp(connection, new NidoClientError('NIDO_CLIENT_PROTOCOL',
        'the server began an enhanced authentication that was not asked for',
        { reasonCode: PROTOCOL_ERROR }));
      return;
    }
    if (packet.authenticationMethod !== this.hook.method) { // [MQTT-4.12.0-5]
      this.giveUp(connection, otherMethod(packet.authenticationMethod, this.hook.method));
      return;
    }
    if (packet.reasonCode === SUCCESS) this.#succeeded(connection, packet);
    else void this.#continue(connection, packet, this.hook);
  }

  async #continue(
    connection: ConnectionHandle, packet: AuthPacket, hook: EnhancedAuthentication,
  ): Promise<void> {
    try {
      const answer = await hook.continue(packet.authenticationData, packet);
      this.#send(connection, CONTINUE_AUTHENTICATION, answer); // [MQTT-4.12.0-3]
    } catch (error) {
      this.giveUp(connection, failure(error));
    }
  }

  #succeeded(connection: ConnectionHandle, packet: AuthPacket): void {
    const error = this.finish(packet.authenticationData);
    if (error !== undefined) {
      this.giveUp(connection, error);
      return;
    }
    this.core.reauthenticated(connection);
    this.#waiting?.resolve();
    this.#waiting = undefined;
  }

  lost(): void {
    this.#waiting?.reject(new NidoClientError('NIDO_CLIENT_DISCONNECTED',
      'the connection ended during the re-authentication'));
    this.#waiting = undefined;
  }

  #send(connection: ConnectionHandle, reasonCode: number, data: AuthenticationData): void {
    const { maximumPacketSize } = this.server();
    const outcome = this.core.sendAuth(connection, {
      reasonCode,
      authenticationMethod: this.hook?.method, // [MQTT-4.12.0-5] [MQTT-4.12.1-1]
      authenticationData: data,
      userProperties: [],
    }, { maximumPacketSize });
    if (outcome === 'sent') return;
    throw new NidoClientError('NIDO_CLIENT_AUTHENTICATION', // [MQTT-3.2.2-15]
      `the AUTH is larger than the server's Maximum Packet Size of ${maximumPacketSize} bytes`,
      { reasonCode: PACKET_TOO_LARGE });
  }
}

function otherMethod(said: string | undefined, wanted: string): NidoClientError {
  return new NidoClientError('NIDO_CLIENT_PROTOCOL', 'the server answered with the authentication '
    + `method ${JSON.stringify(said)}, but ${JSON.stringify(wanted)} was asked for`,
  { reasonCode: PROTOCOL_ERROR });
}

function failure(error: unknown): NidoClientError {
  return error instanceof NidoClientError ? error : new NidoClientError(
    'NIDO_CLIENT_AUTHENTICATION', `enhanced authentication failed: ${messageOf(error)}`,
    { cause: error });
}
