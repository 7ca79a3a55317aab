/**
 * The two seams between a door and the broker.
 *
 * A **Transport** is the byte pipe of one Network Connection, whatever carries it. A **Listener**
 * opens a door and hands over a Transport for every peer that comes in. Nothing here knows MQTT.
 */

/** What carries the bytes. `memory` is the test kit's pipe. */
export type TransportKind = 'tcp' | 'tls' | 'ws' | 'wss' | 'unix' | 'memory';

/** Who the peer proved to be below MQTT: a verified client certificate or a pre-shared key. */
export interface TransportIdentity {
  readonly via: 'certificate' | 'psk';
  /** Common Name of the certificate's subject, or the identity of the pre-shared key. */
  readonly name: string;
  /**
   * Subject Alternative Names as Node prints them, for example `DNS:sala.casa`. Empty for a
   * pre-shared key.
   */
  readonly alternativeNames: readonly string[];
}

/** What a Transport tells its owner. Calls never overlap, and none follows `transportClosed`. */
export interface TransportOwner {
  /** Bytes arrived. `chunk` belongs to the callee only until it returns. */
  transportData(chunk: Uint8Array): void;
  /**
   * The pipe is gone, both ways. Called exactly once. `error` is set when it did not end in peace.
   */
  transportClosed(error?: Error): void;
}

export interface Transport {
  readonly kind: TransportKind;
  /**
   * The peer's true address: what the PROXY protocol said when the door trusts it. `''` for a unix
   * socket. A door asks the kernel only when this is read: who wants it in a log line about the end
   * reads it once at the beginning.
   */
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly identity?: TransportIdentity;
  /**
   * Bytes given to `write` whose memory is still in use. 0 means that every earlier buffer may be
   * reused.
   */
  readonly bytesInFlight: number;

  /**
   * Says who listens, and starts the flow of data. Called once, in the same turn as the Transport
   * is handed over.
   */
  open(owner: TransportOwner): void;
  /**
   * Sends `bytes`. Answers `true` when the memory may be reused at once (the kernel has all of it,
   * or the pipe is gone and nobody wants it): `done` is then never called. Answers `false` when the
   * memory stays in use until `done` is called, exactly once, also when the transport dies; never
   * within `write` itself. While the transport lives, `done` is called in the order of the writes.
   */
  write(bytes: Uint8Array, done: () => void): boolean;
  /**
   * Gathers the writes up to `uncork` into one system call. A write in between answers `false`;
   * when `bytesInFlight` is 0 after `uncork` the memory of all of them may be reused, although
   * their `done` is still to come.
   */
  cork(): void;
  uncork(): void;
  /** Stops reading (the peer feels TCP backpressure). No `transportData` follows until `resume`. */
  pause(): void;
  resume(): void;
  /**
   * Sends what was written, then closes; incoming data is ignored from now on. Closes by force
   * after `deadlineMs`.
   */
  end(deadlineMs: number): void;
  /** Closes now; what was not sent is lost. */
  destroy(): void;
}

/** One door. */
export interface Listener {
  /** What the options call it, else its address as it was asked for. Never changes. */
  readonly name: string;
  /** For logs: `tcp://127.0.0.1:1883`. With port 0 the real port appears here after `start`. */
  readonly address: string;
  /** The real port after `start`; undefined for a unix socket. */
  readonly port?: number;
  /**
   * Resolves when the door is open. Rejects with a ListenerError (`code`, what was wrong, what to
   * do).
   */
  start(accept: AcceptTransport): Promise<void>;
  /**
   * Takes nobody new in at once (who is still in a handshake is cut); resolves when the door is
   * shut, at the latest after `deadlineMs`. Open transports are their owners' business.
   */
  stop(deadlineMs: number): Promise<void>;
  /**
   * Reads certificates, keys and pre-shared keys again. Open connections stay; new handshakes see
   * the new ones. Rejects with a ListenerError, and changes nothing, when one of them is wrong.
   */
  reload(): Promise<void>;
}

export type AcceptTransport = (transport: Transport, listener: Listener) => void;

/** Why a peer was turned away before it became a Transport. */
export type RefusalReason =
  | 'connections-max'
  | 'door-closing'
  | 'proxy-header'
  | 'proxy-untrusted'
  | 'tls-handshake'
  | 'http-request'
  | 'websocket-path'
  | 'websocket-origin'
  | 'websocket-protocol'
  | 'websocket-handshake';

export interface Refusal {
  readonly reason: RefusalReason;
  /** One line for a log. Holds what the peer said, made printable, never a secret. */
  readonly detail: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

/**
 * What a door tells besides Transports: for logs and counters. Nobody is turned away in silence.
 */
export interface ListenerObserver {
  peerRefused?(refusal: Refusal, listener: Listener): void;
  /** The open door is in trouble, for example because file descriptors ran out. It stays open. */
  listenerFailed?(error: Error, listener: Listener): void;
}
