/** Replies to requests: where they go, in which form, and that nobody hears its own. */
import { MqttRecord } from '@nestjs/microservices';
import type { WritePacket } from '@nestjs/microservices';
import type { MessageProperties, Qos } from '../core/contract.js';
import type { Codec } from './codec.js';
import {
  REPLY_END,
  REPLY_ERROR,
  REPLY_MARK,
  REPLY_MORE,
  replyTopicOf,
} from './envelope.js';
import type { PacketSerializer } from './link/join-options.js';
import type { IncomingMessage, Link, LinkPublishOptions } from './link/link.js';
import { fromPacketProperties } from './packet.js';

const ECHOES_MAX = 1_024;
/** Of one handler, and what an entry counts besides its payload. */
const ECHO_BYTES_MAX = 1_048_576;
const ECHO_BYTES = 64;

/**
 * Replies that are on their way back to the handler that sent them, because its filter matches the
 * reply topic, too.
 */
export class Echoes {
  readonly #expected: { readonly topicName: string; readonly payload: Buffer }[] = [];
  #bytes = 0;

  /** The oldest are given up: they went to another member of a share group, perhaps. */
  expect(topicName: string, payload: Uint8Array | string): void {
    const echo = { topicName, payload: Buffer.from(payload as Uint8Array) };
    this.#expected.push(echo);
    this.#bytes += echo.payload.length + ECHO_BYTES;
    while (this.#expected.length > ECHOES_MAX || this.#bytes > ECHO_BYTES_MAX) this.#drop(0);
  }

  /** Whether this message is one of them; it is, once. */
  take(message: IncomingMessage): boolean {
    if (this.#expected.length === 0) return false;
    const at = this.#expected.findIndex(
      ({ topicName, payload }) =>
        topicName === message.topicName && payload.equals(message.payload),
    );
    if (at >= 0) this.#drop(at);
    return at >= 0;
  }

  #drop(at: number): void {
    const [echo] = this.#expected.splice(at, 1);
    this.#bytes -= echo.payload.length + ECHO_BYTES;
  }
}

export interface ReplyOptions {
  readonly link: Link;
  readonly codec: Codec;
  readonly serializer: PacketSerializer | undefined;
  /** Told before a reply is published. */
  readonly sending: (topicName: string, payload: Uint8Array | string) => void;
}

interface Written {
  readonly payload: Uint8Array | string;
  readonly properties: MessageProperties;
  readonly options: LinkPublishOptions;
}

/** Answers one request, once or many times. */
export class Replier {
  #sent = 0;
  #state: 'open' | 'ended' = 'open';

  constructor(
    private readonly options: ReplyOptions,
    private readonly message: IncomingMessage,
    /** Of the envelope; undefined when the request came without one. */
    private readonly id: string | undefined,
  ) {}

  /**
   * One packet of Nest's `Server.send`. A value that cannot be written is answered with an error,
   * which is the end. Resolves with whether more may follow; rejects when nothing could be
   * published.
   */
  async respond(packet: WritePacket): Promise<'more' | 'end'> {
    if (this.#state === 'ended') return 'end';
    let written: Written;
    try {
      written = this.#write(packet);
    } catch (error) {
      return this.fail(error);
    }
    if (isLast(packet)) this.#state = 'ended';
    try {
      await this.#publish(written);
    } catch (error) {
      // Too large, perhaps: an error may still go through. Who logs hears of the first trouble.
      if (!isError(packet)) await this.#tell(error).catch(() => undefined);
      throw error;
    }
    return this.#state === 'ended' ? 'end' : 'more';
  }

  /** Answers with an error, unless the end was told already. */
  async fail(error: unknown): Promise<'end'> {
    if (this.#state === 'open') await this.#tell(error);
    return 'end';
  }

  #tell(error: unknown): Promise<void> {
    this.#state = 'ended';
    return this.#publish(this.#write({ err: error, isDisposed: true }));
  }

  async #publish({ payload, properties, options }: Written): Promise<void> {
    const { responseTopic } = this.message.properties;
    const topicName = responseTopic ?? replyTopicOf(this.message.topicName);
    this.#sent += 1;
    this.options.sending(topicName, payload);
    await this.options.link.publish(topicName, payload, {
      qos: options.qos ?? this.message.qos,
      retain: options.retain,
      properties,
    });
  }

  #write(packet: WritePacket): Written {
    const { packet: plain, options } = unrecord(packet);
    const { payload, mark } =
      this.id === undefined
        ? this.#raw(plain)
        : { payload: this.#enveloped(plain), mark: undefined };
    return { payload, options, properties: this.#properties(options.properties ?? {}, mark) };
  }

  #enveloped(packet: WritePacket): Uint8Array | string {
    const { serializer } = this.options;
    const { err } = packet;
    const whole = { ...packet, ...(isError(packet) ? { err: plainError(err) } : {}), id: this.id };
    if (serializer === undefined) return JSON.stringify(whole);
    return serializer.serialize(whole as never) as Uint8Array | string;
  }

  #raw(packet: WritePacket): { payload: Uint8Array | string; mark: string | undefined } {
    const { err, response, isDisposed } = packet;
    if (isError(packet)) {
      return { payload: JSON.stringify(plainError(err)), mark: REPLY_ERROR };
    }
    if (response === undefined && isDisposed === true) {
      return { payload: '', mark: this.#sent === 0 ? undefined : REPLY_END };
    }
    const payload = response === undefined ? '' : this.options.codec.encode(response);
    return { payload, mark: isDisposed === true ? undefined : REPLY_MORE };
  }

  #properties(own: MessageProperties, mark: string | undefined): MessageProperties {
    const { correlationData } = this.message.properties;
    return {
      ...own,
      ...(correlationData === undefined ? {} : { correlationData }),
      ...(mark === undefined
        ? {}
        : { userProperties: [...(own.userProperties ?? []), [REPLY_MARK, mark] as const] }),
    };
  }
}

/** A handler may answer with a record, whose options are then those of the reply. */
function unrecord(packet: WritePacket): { packet: WritePacket; options: LinkPublishOptions } {
  const { response } = packet as { response?: unknown };
  if (!(response instanceof MqttRecord)) return { packet, options: {} };
  const { qos, retain, properties } = response.options ?? {};
  return {
    packet: { ...packet, response: response.data as unknown },
    options: {
      qos: qos as Qos | undefined,
      retain,
      properties: fromPacketProperties(properties as Record<string, unknown> | undefined),
    },
  };
}

function isError({ err }: WritePacket): boolean {
  return err !== undefined && err !== null;
}

/** After an error nothing follows, whether the packet says so or not. */
function isLast(packet: WritePacket): boolean {
  return packet.isDisposed === true || isError(packet);
}

function plainError(error: unknown): unknown {
  return error instanceof Error ? { status: 'error', message: error.message } : error;
}
