import type {
  AcceptOptions,
  AuthPacket,
  ConnectionHandle,
  ConnectPacket,
  CoreControl,
  CoreEvents,
  CoreStats,
  DeliverySink,
  HandlerSessionOptions,
  OutgoingMessage,
  ReasonFields,
  SessionHandle,
  SessionInfo,
  SubscribeOptions,
} from '../../../lib/core/contract.js';
import type { Transport } from '../../../lib/listener/transport.js';

/** A core that routes nothing: it writes down what it is asked, so that a test can look at the decisions. */
export class RecordingCore implements CoreControl {
  readonly calls: string[] = [];
  readonly accepted = new Map<ConnectionHandle, AcceptOptions>();
  readonly publishedMessages: OutgoingMessage[] = [];
  readonly sessions = new Map<SessionHandle, { subscriptions: Map<string, SubscribeOptions> }>();
  readonly sinks = new Map<SessionHandle, DeliverySink>();
  readonly received = new Map<ConnectionHandle, number>();
  readonly #servedBy = new Map<ConnectionHandle, SessionHandle>();
  #last = 0;

  constructor(readonly events: CoreEvents) {}

  open(_transport: Transport, now: number): ConnectionHandle {
    const handle = (this.#last += 1);
    this.received.set(handle, now);
    return handle;
  }
  closeAfterFlush(connection: ConnectionHandle): void {
    this.calls.push(`closeAfterFlush ${connection}`);
  }
  destroy(connection: ConnectionHandle): void {
    this.calls.push(`destroy ${connection}`);
  }
  lastReceived(connection: ConnectionHandle): number {
    return this.received.get(connection) ?? NaN;
  }
  bytesIn(): number {
    return 0;
  }
  accept(connection: ConnectionHandle, session: SessionHandle, options: AcceptOptions): void {
    this.accepted.set(connection, options);
    this.#servedBy.set(connection, session);
    this.calls.push(`accept ${connection} present=${options.connack.sessionPresent}`);
  }
  refuse(connection: ConnectionHandle, reasonCode: number): void {
    this.calls.push(`refuse ${connection} ${hex(reasonCode)}`);
  }
  disconnect(connection: ConnectionHandle, reasonCode: number, _fields?: ReasonFields): void {
    this.calls.push(`disconnect ${connection} ${hex(reasonCode)}`);
  }
  sendAuth(connection: ConnectionHandle, packet: AuthPacket): 'sent' | 'too-large' {
    this.calls.push(
      `auth ${connection} ${hex(packet.reasonCode)} ${text(packet.authenticationData)}`,
    );
    return 'sent';
  }
  reauthenticated(connection: ConnectionHandle): void {
    this.calls.push(`reauthenticated ${connection}`);
  }
  answerSubscribe(connection: ConnectionHandle, _id: number, codes: readonly number[]): void {
    this.calls.push(`suback ${connection} ${codes.map(hex).join(' ')}`);
  }
  answerUnsubscribe(connection: ConnectionHandle, _id: number, codes: readonly number[]): void {
    this.calls.push(`unsuback ${connection} ${codes.map(hex).join(' ')}`);
  }
  answerPublish(connection: ConnectionHandle, reasonCode: number): void {
    this.calls.push(`verdict ${connection} ${hex(reasonCode)}`);
  }
  setPublishPolicy(connection: ConnectionHandle, policy: 'allow' | 'deny' | 'ask'): void {
    this.calls.push(`publish ${connection} ${policy}`);
  }
  setReceivePolicy(session: SessionHandle, policy: 'allow' | 'ask'): void {
    this.calls.push(`receive ${session} ${policy}`);
  }
  answerReceive(session: SessionHandle, _asked: object, verdict: 'allowed' | 'denied'): void {
    this.calls.push(`may receive ${session} ${verdict}`);
  }
  slowDown(connection: ConnectionHandle, delayMs: number): void {
    this.calls.push(`slow ${connection} ${delayMs}`);
  }
  setInterceptors(topicFilters: readonly string[]): void {
    this.calls.push(`intercept ${topicFilters.join(' ')}`);
  }
  passIntercepted(connection: ConnectionHandle): void {
    this.calls.push(`pass ${connection}`);
  }
  replaceIntercepted(connection: ConnectionHandle, message: { readonly topicName: string }): void {
    this.calls.push(`replace ${connection} ${message.topicName}`);
  }
  dropIntercepted(connection: ConnectionHandle, reasonCode: number): void {
    this.calls.push(`drop ${connection} ${hex(reasonCode)}`);
  }
  invalidateVerdicts(): void {
    this.calls.push('invalidate');
  }
  createLimits(): number {
    return 1;
  }
  createSession(): SessionHandle {
    return this.#session();
  }
  createHandlerSession(_options: HandlerSessionOptions, sink: DeliverySink): SessionHandle {
    const session = this.#session();
    this.sinks.set(session, sink);
    return session;
  }
  endSession(session: SessionHandle): void {
    this.sessions.delete(session);
    this.calls.push(`end ${session}`);
  }
  sessionOf(connection: ConnectionHandle): SessionHandle {
    return this.#servedBy.get(connection) ?? 0;
  }
  connectionOf(): ConnectionHandle {
    return 0;
  }
  detach(session: SessionHandle): void {
    this.calls.push(`detach ${session}`);
  }
  sessionInfo(session: SessionHandle): SessionInfo | undefined {
    const known = this.sessions.get(session);
    return known === undefined
      ? undefined
      : {
        queuedMessages: 0, gatedMessages: 0, queuedBytes: 0, inflight: 0,
        subscriptions: known.subscriptions.size,
      };
  }
  subscribe(
    session: SessionHandle,
    filter: string,
    options: SubscribeOptions,
  ): { readonly existed: boolean } {
    const { subscriptions } = this.sessions.get(session)!;
    const key = options.shareName === undefined ? filter : `$share/${options.shareName}/${filter}`;
    const existed = subscriptions.has(key);
    subscriptions.set(key, options);
    return { existed };
  }
  unsubscribe(session: SessionHandle, filter: string, shareName?: string): boolean {
    return this.sessions
      .get(session)!
      .subscriptions.delete(shareName === undefined ? filter : `$share/${shareName}/${filter}`);
  }
  isSubscribed(session: SessionHandle, filter: string, shareName?: string): boolean {
    return this.sessions
      .get(session)!
      .subscriptions.has(shareName === undefined ? filter : `$share/${shareName}/${filter}`);
  }
  subscriptionsOf(session: SessionHandle): { topicFilter: string; options: SubscribeOptions }[] {
    return [...this.sessions.get(session)!.subscriptions].map(([topicFilter, options]) => ({
      topicFilter,
      options,
    }));
  }
  publish(message: OutgoingMessage, token?: number): number {
    this.publishedMessages.push(message);
    this.calls.push(`publish ${message.topicName}`);
    if (token !== undefined) this.events.published(token, 0);
    return 0;
  }
  settle(_session: SessionHandle, token: number, reasonCode: number): void {
    this.calls.push(`settle ${token} ${hex(reasonCode)}`);
  }
  grant(): void {
    this.calls.push('grant');
  }
  tick(): number {
    return 1_000;
  }
  countDropped(): void {}
  stats(): CoreStats {
    return {
      connections: 0,
      sessions: 0,
      subscriptions: 0,
      retainedMessages: 0,
      publishReceived: 0,
      publishSent: 0,
      bytesReceived: 0,
      bytesSent: 0,
      queuedMessages: 0,
      dropped: {} as CoreStats['dropped'],
      memoryBytes: 0,
      memoryUsedBytes: {} as CoreStats['memoryUsedBytes'],
    };
  }
  close(): void {}

  #session(): SessionHandle {
    const handle = (this.#last += 1);
    this.sessions.set(handle, { subscriptions: new Map() });
    return handle;
  }
}

/** A Transport that only has an address. */
export function silentTransport(): Transport {
  return {
    kind: 'memory',
    remoteAddress: '127.0.0.1',
    remotePort: 4_711,
    bytesInFlight: 0,
    open() {},
    write: () => true,
    cork() {},
    uncork() {},
    pause() {},
    resume() {},
    end() {},
    destroy() {},
  } as Transport;
}

export function connectPacket(given: Partial<ConnectPacket> = {}): ConnectPacket {
  return {
    protocolVersion: 5,
    clientIdentifier: 'sensor',
    cleanStart: true,
    keepAliveSeconds: 60,
    requestResponseInformation: false,
    requestProblemInformation: true,
    userProperties: [],
    ...given,
  };
}

function hex(code: number): string {
  return code.toString(16).padStart(2, '0');
}

function text(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? '' : Buffer.from(bytes).toString();
}
