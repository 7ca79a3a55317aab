/**
 * The way to the server: attempts one after the other, CONNECT and CONNACK, keep alive, goodbye,
 * and coming back. What goes over it is not its business.
 */
import type { Core } from '../core/core.js';
import type {
  AuthPacket, ConnackFields, ConnectionHandle, ConnectPacket, DisconnectPacket, ProtocolVersion,
  ReasonFields, SessionHandle,
} from '../core/contract.js';
import { openTransport } from '../listener/index.js';
import type { Transport } from '../listener/index.js';
import { AuthExchange } from './auth-exchange.js';
import { backoffMs } from './backoff.js';
import type { ClientEmitter } from './client-emitter.js';
import { clientLimits } from './client-limits.js';
import { NidoClientError, messageOf } from './errors.js';
import { userPairs } from './message-properties.js';
import {
  FAILURE, PROTOCOL_ERROR, SESSION_TAKEN_OVER, SUCCESS, UNSPECIFIED_ERROR,
  UNSUPPORTED_PROTOCOL_VERSION, isFinalRefusal, reasonOfReturnCode,
} from './reason-names.js';
import { oldVersionProblem } from './resolve-options.js';
import type { ResolvedOptions } from './resolve-options.js';
import { SERVER_UNKNOWN, featuresOf, sessionAtServer } from './server-features.js';
import type { ServerFeatures, SessionAtServer } from './server-features.js';
import { TargetList } from './target-list.js';

export type ClientStatus =
  | 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'ending' | 'closed';

export interface UplinkOwner {
  /**
   * A CONNACK that accepts: what is wrong with it, or a promise when something must be done before
   * the connection is used.
   */
  prepare(
    session: SessionAtServer, clientIdentifier: string,
  ): NidoClientError | Promise<void> | undefined;
  /** CONNACK has come; nothing of the session has been sent yet. */
  accepting(connection: ConnectionHandle, session: SessionAtServer): void;
  /** The connection is in use. */
  connected(): void;
  /** The client has ended or given up; `error` says why when nobody asked for it. */
  finished(error?: NidoClientError): void;
}

/** A ping leaves this part of the keep alive after the last one. */
const PING_AFTER = 0.75;
const MS_PER_SECOND = 1000;

export class Uplink {
  status: ClientStatus = 'idle';
  /** 0 = not connected. */
  connection: ConnectionHandle = 0;
  server: ServerFeatures = SERVER_UNKNOWN;
  protocolVersion: ProtocolVersion;
  clientIdentifier: string;
  readonly #targets: TargetList;
  readonly #auth: AuthExchange;
  /** The connection of the attempt under way, or the one in use. */
  #opened: ConnectionHandle = 0;
  #abort: AbortController | undefined;
  /** Why the connection that is closing was given up. */
  #why: NidoClientError | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #connackTimer: NodeJS.Timeout | undefined;
  #pingTimer: NodeJS.Timeout | undefined;
  #pingSentAt = 0;
  #attempt = 0;
  #cleanStart: boolean;
  #everConnected = false;
  /** The last server that was found not to know MQTT 5. */
  #oldServer = '';
  /** Why the client gives up while it is connected. */
  #finalError: NidoClientError | undefined;
  #closed: (() => void)[] = [];

  constructor(
    private readonly core: Core,
    private readonly session: SessionHandle,
    private readonly options: ResolvedOptions,
    private readonly emitter: ClientEmitter,
    private readonly owner: UplinkOwner,
  ) {
    this.protocolVersion = options.protocolVersion;
    this.clientIdentifier = options.clientIdentifier;
    this.#cleanStart = options.cleanStart;
    this.#targets = new TargetList(options);
    this.#auth = new AuthExchange(
      core, options.enhancedAuthentication, () => this.server,
      (connection, error) => this.#give(connection, error));
  }

  /** The server of the attempt under way, or of the connection. */
  get serverName(): string {
    return this.#targets.current.name;
  }

  /** `before` is done first; when it fails the client has given up. */
  start(before?: () => Promise<void>): void {
    if (this.status !== 'idle') return;
    this.status = 'connecting';
    if (before === undefined) void this.#connect();
    else void this.#startAfter(before());
  }
  async #startAfter(ready: Promise<void>): Promise<void> {
    try {
      await ready;
    } catch (error) {
      if (this.#isLeaving) return;
      this.emitter.tell('error', error as NidoClientError);
      this.#finish(error as NidoClientError);
      return;
    }
    if (!this.#isLeaving) void this.#connect();
  }
  get #isLeaving(): boolean {
    return this.status === 'ending' || this.status === 'closed';
  }

  /**
   * Ends the connection and whatever was planned; resolves when nothing is left. `goodbye` is what
   * DISCONNECT says (MQTT 5).
   */
  async stop(goodbye?: ReasonFields): Promise<void> {
    if (this.status === 'closed') return;
    this.status = 'ending';
    clearTimeout(this.#retryTimer);
    this.#abort?.abort();
    if (this.#opened !== 0) {
      const gone = new Promise<void>((resolve) => this.#closed.push(resolve));
      if (this.connection !== 0) this.#sayGoodbye(this.connection, goodbye);
      else this.core.destroy(this.#opened);
      await gone;
    }
    this.#finish(this.#finalError);
  }

  #sayGoodbye(connection: ConnectionHandle, goodbye: ReasonFields | undefined): void {
    // `disconnect` leaves out what the server's Maximum Packet Size has no room for.
    if (goodbye === undefined || this.protocolVersion !== 5) {
      this.core.sayGoodbye(connection, SUCCESS);
    } else {
      this.core.disconnect(connection, SUCCESS, goodbye);
    }
  }

  /** The client cannot go on: nothing more is sent or acknowledged. */
  giveUp(error: NidoClientError): void {
    if (this.#isLeaving) return;
    this.#finalError = error;
    void this.stop();
  }

  reauthenticate(): Promise<void> {
    return this.#auth.again(this.connection);
  }

  /** Closes the connection without a goodbye; the client comes back by itself. */
  drop(): void {
    if (this.#opened !== 0) this.core.destroy(this.#opened);
  }

  // --- an attempt ------------------------------------------------------------------------------

  async #connect(): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    this.#why = undefined;
    try {
      const authenticationData = await this.#inTime(
        'enhancedAuthentication.start', this.#auth.begin());
      const transport = await this.#open(abort.signal);
      if (abort.signal.aborted) transport.destroy();
      else this.#greet(transport, authenticationData);
    } catch (error) {
      if (abort.signal.aborted) return;
      this.#over(error instanceof NidoClientError ? error : new NidoClientError(
        'NIDO_CLIENT_CONNECT_FAILED', messageOf(error), { cause: error }));
    }
  }

  async #open(signal: AbortSignal): Promise<Transport> {
    const { transport, address } = this.#targets.current;
    const made = this.options.createSocket?.(address);
    const socket = made === undefined ? undefined
      : await this.#inTime('createSocket', made, (late) => late.destroy());
    const connectDeadlineMs = this.options.limits.connectTimeout;
    return openTransport({ ...transport, connectDeadlineMs, signal, socket });
  }

  /** What the application has a part in is on the way to CONNACK as well. */
  #inTime<T>(
    name: string, work: T | Promise<T>, late: (result: T) => void = () => {},
  ): Promise<T> {
    const { connectTimeout } = this.options.limits;
    return new Promise<T>((resolve, reject) => {
      let isLate = false;
      const timer = setTimeout(() => {
        isLate = true;
        reject(new NidoClientError('NIDO_CLIENT_CONNECT_FAILED',
          `${this.serverName}: ${name} was not done within ${connectTimeout} ms`));
      }, connectTimeout).unref();
      Promise.resolve(work).finally(() => clearTimeout(timer))
        .then((result) => (isLate ? late(result) : resolve(result)), reject);
    });
  }

  #greet(transport: Transport, authenticationData: Uint8Array | undefined): void {
    this.#opened = this.core.openUplink(transport, this.#connectPacket(authenticationData));
    const { connectTimeout } = this.options.limits;
    this.#connackTimer = setTimeout(() => this.#give(this.#opened, new NidoClientError(
      'NIDO_CLIENT_CONNACK_TIMEOUT',
      `${this.serverName}: connected, but no CONNACK within ${connectTimeout} ms. `
      + 'Does an MQTT server listen there?')), connectTimeout);
  }

  #connectPacket(authenticationData: Uint8Array | undefined): ConnectPacket {
    const { options } = this;
    const properties = options.properties ?? {};
    const isV5 = this.protocolVersion === 5;
    const method = options.enhancedAuthentication?.method ?? properties.authenticationMethod;
    return {
      protocolVersion: this.protocolVersion,
      clientIdentifier: this.clientIdentifier,
      cleanStart: this.#cleanStart,
      keepAliveSeconds: options.keepAliveSeconds,
      username: options.username,
      password: options.password,
      will: options.willMessage,
      sessionExpiryInterval:
        options.sessionExpiryInterval === 0 ? undefined : options.sessionExpiryInterval,
      receiveMaximum: options.receiveMaximum,
      maximumPacketSize: options.maximumPacketSize,
      topicAliasMaximum: options.topicAliasMaximum === 0 ? undefined : options.topicAliasMaximum,
      requestResponseInformation: properties.requestResponseInformation ?? false,
      requestProblemInformation: properties.requestProblemInformation ?? true,
      userProperties: userPairs(properties.userProperties),
      authenticationMethod: isV5 ? method : undefined,
      authenticationData: isV5 ? authenticationData ?? properties.authenticationData : undefined,
    };
  }

  // --- what the core tells -----------------------------------------------------------------------

  connack(connection: ConnectionHandle, connack: ConnackFields): void {
    if (connection !== this.#opened) return;
    clearTimeout(this.#connackTimer);
    // A server that knows only 3.x refuses MQTT 5 in its own words.
    const reasonCode = connack.reasonCode >= FAILURE
      ? connack.reasonCode : reasonOfReturnCode(connack.reasonCode);
    const error = reasonCode === SUCCESS
      ? this.#objection(connack) : this.#refusal(reasonCode, connack);
    if (error === undefined) this.#prepare(connection, connack);
    else this.#give(connection, error);
  }

  #prepare(connection: ConnectionHandle, connack: ConnackFields): void {
    const identifier = connack.assignedClientIdentifier ?? this.clientIdentifier;
    const prepared = this.owner.prepare(this.#sessionAfter(connack), identifier);
    if (prepared === undefined) {
      this.#accept(connection, connack);
    } else if (prepared instanceof NidoClientError) {
      this.#give(connection, prepared);
    } else {
      void prepared.then(() => {
        if (connection === this.#opened) this.#accept(connection, connack);
      });
    }
  }

  #sessionAfter(connack: ConnackFields): SessionAtServer {
    return sessionAtServer(connack, this.protocolVersion, this.#cleanStart ? 'clean' : 'stays');
  }

  #refusal(reasonCode: number, connack: ConnackFields): NidoClientError {
    if (connack.serverReference !== undefined) this.#targets.follow(connack);
    const said = connack.reasonString === undefined ? '' : `: ${connack.reasonString}`;
    return new NidoClientError('NIDO_CLIENT_REFUSED',
      `${this.serverName} refused the connection${said}`, { reasonCode });
  }

  /** What is wrong with a CONNACK that accepts. */
  #objection(connack: ConnackFields): NidoClientError | undefined {
    if (this.#cleanStart && this.#sessionAfter(connack) === 'present') { // 5.0 [MQTT-3.2.2-4]
      return new NidoClientError('NIDO_CLIENT_PROTOCOL',
        `${this.serverName} kept a session although a clean one was asked for`,
        { reasonCode: PROTOCOL_ERROR });
    }
    return this.#auth.accepted(connack);
  }

  #accept(connection: ConnectionHandle, connack: ConnackFields): void {
    const { core, options } = this;
    this.server = featuresOf(connack, this.protocolVersion);
    this.clientIdentifier = connack.assignedClientIdentifier ?? this.clientIdentifier;
    core.setServerPromises(this.server);
    this.owner.accepting(connection, this.#sessionAfter(connack));
    this.connection = connection; // nothing that is asked for leaves before this [MQTT-3.1.2-30]
    this.#everConnected = true;
    this.#attempt = 0;
    this.#targets.succeeded();
    if (this.protocolVersion === 5 && options.sessionExpiryInterval > 0) this.#cleanStart = false;
    core.acceptUplink(connection, this.session, {
      receiveMaximum: this.#inflightMax(),
      maximumPacketSize: this.server.maximumPacketSize,
      // 5.0 [MQTT-3.2.2-17]
      topicAliasMaximum: Math.min(
        this.server.topicAliasMaximum, clientLimits.topicAliasesUsedMax),
      publishPolicy: 'allow',
    });
    // 5.0 [MQTT-3.1.2-21] [MQTT-3.2.2-21]
    this.#keepAlive(connack.serverKeepAlive ?? options.keepAliveSeconds);
    if (this.status === 'ending') return;
    this.status = 'connected';
    this.owner.connected();
    this.emitter.tell('connect', {
      sessionPresent: connack.sessionPresent,
      clientIdentifier: this.clientIdentifier,
      server: this.serverName,
      connack,
    });
  }

  /** QoS 1 and 2 messages that may be under way. [MQTT-3.3.4-7] */
  #inflightMax(): number {
    const byDefault = this.protocolVersion === 5
      ? clientLimits.inflightMax : clientLimits.inflightMaxWithoutReceiveMaximum;
    return Math.min(this.options.inflightMax ?? byDefault, this.server.receiveMaximum);
  }

  auth(connection: ConnectionHandle, packet: AuthPacket): void {
    if (connection === this.#opened) this.#auth.receive(connection, packet);
  }

  disconnect(connection: ConnectionHandle, packet: DisconnectPacket): void {
    if (connection !== this.#opened) return;
    if (packet.serverReference !== undefined) this.#targets.follow(packet);
    const said = packet.reasonString === undefined ? '' : `: ${packet.reasonString}`;
    this.#why = new NidoClientError('NIDO_CLIENT_DISCONNECTED',
      `${this.serverName} ended the connection${said}`, { reasonCode: packet.reasonCode });
    this.core.closeAfterFlush(connection);
    this.emitter.tell('disconnect', packet);
  }

  failed(connection: ConnectionHandle, reasonCode: number, detail: string): void {
    if (connection !== this.#opened) return;
    this.#why = new NidoClientError('NIDO_CLIENT_PROTOCOL',
      `${this.serverName} broke the protocol: ${detail}`, { reasonCode });
    this.core.closeAfterFlush(connection);
  }

  /** The server answered something else than it was asked. */
  brokenBy(answer: string): void {
    this.#give(this.connection, new NidoClientError('NIDO_CLIENT_PROTOCOL',
      `${this.serverName} broke the protocol: ${answer}`, { reasonCode: PROTOCOL_ERROR }));
  }

  closed(connection: ConnectionHandle, cause?: Error): void {
    if (connection !== this.#opened) return;
    clearTimeout(this.#connackTimer);
    clearInterval(this.#pingTimer);
    const greeted = this.connection !== 0;
    this.#opened = 0;
    this.connection = 0;
    this.#auth.lost();
    for (const resolve of this.#closed.splice(0)) resolve();
    if (this.status === 'ending') {
      this.emitter.tell('close');
      return;
    }
    const error = this.#why ?? new NidoClientError('NIDO_CLIENT_DISCONNECTED',
      `${this.serverName} closed the connection${greeted ? '' : ' before CONNACK'}`
      + `${cause === undefined ? '' : `: ${cause.message}`}`, { cause });
    if (greeted) this.emitter.tell('offline');
    this.#over(error);
  }

  // --- the end of a connection -----------------------------------------------------------------

  #give(connection: ConnectionHandle, error: NidoClientError): void {
    if (connection === 0 || connection !== this.#opened) return;
    this.#why = error;
    const { code } = error;
    const isOurs = code === 'NIDO_CLIENT_PROTOCOL' || code === 'NIDO_CLIENT_AUTHENTICATION';
    if (isOurs && connection === this.connection && this.protocolVersion === 5) {
      // The server is told why. [MQTT-4.12.1-2] [MQTT-4.13.2-1]
      this.core.disconnect(connection, error.reasonCode ?? UNSPECIFIED_ERROR);
      return;
    }
    this.core.destroy(connection);
  }

  /** A connection, or an attempt at one, is over: what now? */
  #over(error: NidoClientError): void {
    const other = this.#tryOtherVersion(error);
    const refused = other ? undefined : this.#refused(error);
    const refusedByAll = other ? undefined : this.#targets.heard(refused);
    const told = refusedByAll ?? error;
    if (!other) this.emitter.tell('error', told);
    this.emitter.tell('close', told);
    if (this.#isLeaving) return;
    if (!other && (refusedByAll !== undefined || this.#isFinal(error))) {
      this.#finish(told);
      return;
    }
    this.status = 'reconnecting';
    // That this server was old says nothing of the next.
    if (refused !== undefined && this.options.versionIsDefault && !this.#everConnected) {
      this.protocolVersion = 5;
    }
    // The other version is tried with the same server, unless that has named another one.
    const stays = other && !this.#targets.isFresh;
    const isNewRound = !stays && this.#targets.next();
    if (isNewRound && !other) this.#attempt += 1;
    const { reconnectPeriod, reconnectPeriodMax } = this.options.limits;
    const delay = isNewRound && !other
      ? backoffMs(this.#attempt, reconnectPeriod, reconnectPeriodMax) : 0;
    this.#retryTimer = setTimeout(() => {
      this.emitter.tell('reconnect', { attempt: this.#attempt, server: this.serverName });
      if (this.status === 'reconnecting') void this.#connect();
    }, delay);
  }

  /** A server that does not know MQTT 5 says so, or just closes. Nobody asked for 5, so try 4. */
  #tryOtherVersion(error: NidoClientError): boolean {
    if (!this.options.versionIsDefault) return false;
    // A server that was connected to may be replaced by an older one, or fail over to it; but that
    // it just closes says nothing then.
    const isTold = error.reasonCode === UNSUPPORTED_PROTOCOL_VERSION;
    if (this.#everConnected && !isTold) return false;
    if (oldVersionProblem(this.options) !== undefined) return false;
    const unanswered = this.#why === undefined && error.code === 'NIDO_CLIENT_DISCONNECTED';
    const unknown = isTold || error.code === 'NIDO_CLIENT_PROTOCOL';
    if (this.protocolVersion === 4) {
      const isOther = isTold && this.#oldServer !== this.serverName; // this one may know only 5
      if (unanswered || isOther) this.protocolVersion = 5;
      return isOther;
    }
    if (!unknown && !unanswered) return false;
    this.protocolVersion = 4;
    this.#oldServer = this.serverName;
    this.#cleanStart = this.options.cleanStart;
    return true;
  }

  /** No other attempt is made, with whichever server. */
  #isFinal(error: NidoClientError): boolean {
    return this.options.limits.reconnectPeriod === 0
      || error.code === 'NIDO_CLIENT_SESSION_UNKNOWN'
      || error.reasonCode === SESSION_TAKEN_OVER; // coming back would start a fight
  }

  /** The error when this server would say the same again; another one may not. */
  #refused(error: NidoClientError): NidoClientError | undefined {
    if (this.options.reconnectOnConnackError === true) return undefined;
    const isRefused = error.code === 'NIDO_CLIENT_AUTHENTICATION'
      || error.code === 'NIDO_CLIENT_REFUSED' && isFinalRefusal(error.reasonCode ?? SUCCESS);
    return isRefused ? error : undefined;
  }

  #finish(error?: NidoClientError): void {
    if (this.status === 'closed') return;
    this.status = 'closed';
    this.owner.finished(error);
    this.emitter.tell('end');
  }

  // --- keep alive ------------------------------------------------------------------------------

  #keepAlive(seconds: number): void {
    clearInterval(this.#pingTimer);
    if (seconds === 0) return;
    this.#pingSentAt = 0;
    const period = Math.max(1, seconds * MS_PER_SECOND * PING_AFTER);
    this.#pingTimer = setInterval(() => this.#ping(seconds), period);
    this.#pingTimer.unref();
  }

  #ping(seconds: number): void {
    const { core, connection } = this;
    const now = performance.now();
    if (this.#pingSentAt !== 0 && core.lastReceived(connection, now) < this.#pingSentAt) {
      this.#give(connection, new NidoClientError('NIDO_CLIENT_KEEP_ALIVE',
        `${this.serverName} has not answered a PINGREQ (keep alive ${seconds} s)`));
      return;
    }
    this.#pingSentAt = now;
    core.sendPingreq(connection); // 3.1.1 [MQTT-3.1.2-23], 5.0 [MQTT-3.1.2-20]
  }
}
