/**
 * Hooks: where the owner of a broker decides. One small interface per concern; every method may
 * answer at once or with a promise, and only the promise pays. A hook that throws or rejects denies
 * (fail closed) and is logged.
 */
import type { MessageProperties } from '../core/contract.js';
import type { TransportIdentity, TransportKind } from '../listener/transport.js';

/** Who a connection is, once authentication has said so. Frozen for the life of the connection. */
export interface Identity {
  readonly clientId: string;
  /** Of its listener; undefined = it sees all topics. Topics are always the broker's own names. */
  readonly mountPoint?: string;
  /**
   * What the authenticator says, or the User Name of the CONNECT packet, or undefined for an
   * anonymous client.
   */
  readonly username?: string;
  readonly roles?: readonly string[];
  /**
   * Whatever an authenticator wants to hand to authorizers and handlers, for example the claims of
   * a token.
   */
  readonly claims?: Readonly<Record<string, unknown>>;
}

/** Everything that is known of a peer when it asks to come in. */
export interface ConnectRequest {
  /**
   * Client Identifier; `''` when the client left it to the server (it is assigned after
   * authentication).
   */
  readonly clientId: string;
  readonly username?: string;
  /** Never logged. */
  readonly password?: Uint8Array;
  readonly protocolVersion: 3 | 4 | 5;
  readonly cleanStart: boolean;
  readonly keepAliveSeconds: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly transport: TransportKind;
  readonly identity?: TransportIdentity;
  /** Name of the listener, for rules that differ by door. */
  readonly listener: string;
  readonly userProperties: readonly (readonly [string, string])[];
}

export type AuthenticationResult =
  | {
      readonly ok: true;
      readonly username?: string;
      readonly roles?: readonly string[];
      readonly claims?: Readonly<Record<string, unknown>>;
      /**
       * The connection is closed with Reason Code 0xA0 at this time (milliseconds since the epoch).
       */
      readonly expiresAt?: number;
      /**
       * Asked again after `onChange`: false ends the connection with 0x87. One that throws or
       * rejects ends it, too. Left out: what let the client in holds until it leaves.
       */
      readonly stillHolds?: () => boolean | Promise<boolean>;
    }
  /**
   * `reasonCode` is a CONNACK Reason Code of MQTT 5 (0x86 when left out); older versions get its
   * nearest Return Code.
   */
  | { readonly ok: false; readonly reasonCode?: number; readonly reason?: string }
  /**
   * Not mine to decide: the next authenticator of the chain is asked. The end of the chain denies.
   */
  | { readonly ok: 'pass' };

export interface Authenticator {
  authenticate(request: ConnectRequest): AuthenticationResult | Promise<AuthenticationResult>;
  /**
   * Called with a function that asks `stillHolds` of every client inside; call it after a user, a
   * key or a token was taken back.
   */
  onChange?(review: () => void): void;
}

/**
 * Enhanced authentication (MQTT 5, section 4.12). One exchange object lives for one authentication.
 */
export interface EnhancedAuthenticator {
  /** The Authentication Method this one serves, for example `SCRAM-SHA-256`. */
  readonly method: string;
  begin(request: ConnectRequest): EnhancedExchange;
  /** As that of an Authenticator. */
  onChange?(review: () => void): void;
}
export type EnhancedStep =
  | { readonly kind: 'continue'; readonly data?: Uint8Array }
  | (Extract<AuthenticationResult, { ok: true }>
    & { readonly kind: 'success'; readonly data?: Uint8Array })
  | { readonly kind: 'failure'; readonly reasonCode?: number; readonly reason?: string };
export interface EnhancedExchange {
  /** One step for every packet of the client: CONNECT first, then each AUTH. */
  step(data: Uint8Array | undefined): EnhancedStep | Promise<EnhancedStep>;
}

/** `true` allows, `false` refuses with 0x87 (Not authorized). */
export type Verdict = boolean;

export interface Authorizer {
  /**
   * May `who` publish to `topicName`? Also asked for Will Messages. The verdict is cached per
   * connection and topic.
   */
  canPublish?(
    who: Identity, topicName: string, how: { readonly qos: 0 | 1 | 2; readonly retain: boolean },
  ): Verdict | Promise<Verdict>;
  /** May `who` hold this subscription? `topicFilter` comes without `$share/<name>/`. */
  canSubscribe?(
    who: Identity, topicFilter: string,
    how: { readonly qos: 0 | 1 | 2; readonly shareName?: string },
  ): Verdict | Promise<Verdict>;
  /**
   * May messages of this topic be delivered to `who`? Asked for every delivery when it is there
   * (the verdict is cached per session and topic). Without it deliveries follow from subscriptions,
   * and only what may be late (queued, retained, to be sent again) is asked about once the rules
   * have changed or a client has come back: then `canSubscribe` is asked, with the topic itself and
   * with the client's filters that match it, `qos` 0.
   */
  canReceive?(who: Identity, topicName: string): Verdict | Promise<Verdict>;
  /** Called with a function that forgets every cached verdict; call it after the rules changed. */
  onChange?(invalidate: () => void): void;
}

/** What an interceptor sees: a message that may be published and is not yet stored or routed. */
export interface InterceptedMessage {
  /**
   * `client`: a PUBLISH. `will`: the Will Message of a client that is gone. `broker`: this process
   * publishes.
   */
  readonly origin: 'client' | 'will' | 'broker';
  /** `''` when this process publishes. */
  readonly clientId: string;
  /** undefined when this process publishes. */
  readonly identity?: Identity;
  readonly topicName: string;
  /** A copy. Writing into it changes nothing: answer `replace`. */
  readonly payload: Uint8Array;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly properties: MessageProperties;
}
export type Interception =
  | { readonly kind: 'pass' }
  /**
   * Nobody gets it. `reasonCode` goes into PUBACK or PUBREC of MQTT 5: a failure that these may
   * carry, or 0 to let the publisher believe that it was taken. Default 0x83 (Implementation
   * specific error). `reason` is for the log and the event `messageDropped`.
   */
  | { readonly kind: 'drop'; readonly reason: string; readonly reasonCode?: number }
  /**
   * What is left out stays as it came. Another `topicName` or `retain` must be allowed to the
   * publisher as if it had sent them; no interceptor is asked because of the new topic.
   * `properties` take the place of all that there were; the expiry counts from when the message
   * came.
   */
  | {
      readonly kind: 'replace';
      readonly topicName?: string;
      readonly payload?: Uint8Array | string;
      readonly retain?: boolean;
      readonly properties?: MessageProperties;
    };
/**
 * Sees messages before they are stored and routed. Nothing behind a message of the same client is
 * read until it is answered, so order is kept; who needs time makes only that client wait, at most
 * `limits.interceptTimeoutMs`. What throws, rejects, takes longer or answers nonsense refuses the
 * message (0x80, drop reason `interceptor-failed`).
 */
export interface MessageInterceptor {
  /**
   * Only messages whose Topic Name matches one of these Topic Filters are shown; what matches none
   * costs nothing. Without `$share`, and not `$SYS`, which is the broker's own.
   */
  readonly topicFilters: readonly string[];
  intercept(message: InterceptedMessage): Interception | Promise<Interception>;
}

/** A client that has proved who it is, for the gate. */
export interface AdmittedClient {
  readonly clientId: string;
  readonly username?: string;
  readonly remoteAddress: string;
  /** Name of the listener. */
  readonly listener: string;
}
export type GateAnswer =
  /** With `delayMs` above 0, nothing is read from the peer before. */
  | { readonly kind: 'admit'; readonly delayMs?: number }
  | { readonly kind: 'refuse'; readonly reasonCode: number; readonly reason: string };

/**
 * Counts who comes and goes: bans, rates, connections per address and user, flapping. Synchronous.
 * Times are milliseconds: `now` is monotonic, `wallNow` since the epoch. `listener` is its name.
 */
export interface ConnectionGatekeeper {
  /**
   * A peer is at the door. One that is admitted is reported with `closed`, whatever comes of it.
   */
  opened(remoteAddress: string, now: number, wallNow: number, listener: string): GateAnswer;
  closed(remoteAddress: string, listener: string): void;
  /** A client was authenticated. One that is admitted is reported with `left`. */
  enter(who: AdmittedClient, now: number, wallNow: number): GateAnswer;
  left(who: AdmittedClient, now: number): unknown;
  /** How fast a new connection may publish; undefined = as fast as it can. */
  pace?(now: number, listener: string): PublishPace | undefined;
  /** Calls `putOut` when somebody who may be inside is banned. */
  onBan?(putOut: (isBanned: (who: AdmittedClient) => boolean) => void): void;
}

/** The rate of one connection. What is too fast is read later, never dropped. */
export interface PublishPace {
  /** For how many milliseconds to read nothing more after this much came in. */
  take(amount: { readonly messages: number; readonly bytes: number }, now: number): number;
}
