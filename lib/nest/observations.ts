/** `observe`: one subscription for each filter, as long as anybody observes it. */
import { Observable, Subject, from, mergeMap, share, takeUntil } from 'rxjs';
import type { Codec } from './codec.js';
import type { IncomingMessage, Link, LinkSubscription } from './link/link.js';
import type { ObserveOptions, ObservedMessage } from './nido.client.js';
import { parseTemplate, paramsOf } from './topic-template.js';

/** Observers run at once, so more at the same time would mean nothing. */
const CONCURRENCY = 64;
const NO_TIME_LIMIT = 0;

export class Observations {
  readonly #shared = new Map<string, Observable<IncomingMessage>>();
  readonly #open = new Set<LinkSubscription>();
  readonly #ended = new Subject<void>();

  constructor(
    private readonly link: Link,
    private readonly codec: Codec,
  ) {}

  data<Data>(template: string, options: ObserveOptions): Observable<Data> {
    return this.#decoded(template, options, (_message, data) => data as Data);
  }

  messages<Data>(template: string, options: ObserveOptions): Observable<ObservedMessage<Data>> {
    const { levels } = parseTemplate(template);
    return this.#decoded(template, options, (message, data) => {
      const { topicName, payload, qos, retain, dup, properties, publisher } = message;
      const { subscriptionIdentifiers } = message;
      return {
        topicName, payload, qos, retain, dup, properties, publisher, subscriptionIdentifiers,
        data: data as Data,
        params: paramsOf(topicName, levels),
      };
    });
  }

  /** Completes what is observed. */
  async close(): Promise<void> {
    const open = [...this.#open];
    this.#open.clear();
    this.#ended.next();
    await Promise.all(open.map((one) => one.close().catch(() => undefined)));
  }

  #decoded<Value>(
    template: string,
    options: ObserveOptions,
    make: (message: IncomingMessage, data: unknown) => Value,
  ): Observable<Value> {
    const { filter } = parseTemplate(template);
    const codec = options.codec ?? this.codec;
    return new Observable<Value>((observer) => {
      const loaded = codec.load?.() ?? Promise.resolve();
      const source = from(loaded).pipe(mergeMap(() => this.#source(filter, options)));
      return source.subscribe({
        next: (message) => {
          try {
            observer.next(make(message, codec.decode(message.payload)));
          } catch (error) {
            observer.error(error);
          }
        },
        error: (error) => observer.error(error),
        complete: () => observer.complete(),
      });
    });
  }

  #source(filter: string, options: ObserveOptions): Observable<IncomingMessage> {
    const qos = options.qos ?? this.link.defaultQos;
    const key = `${qos} ${filter}`;
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const made = new Observable<IncomingMessage>((observer) => {
      const subscribing = this.link.connect().then(() =>
        this.link.subscribe(filter, (message) => observer.next(message), {
          qos, concurrency: CONCURRENCY, ack: 'on-receipt', handlerTimeoutMs: NO_TIME_LIMIT,
        }),
      );
      subscribing.then(
        (subscription) => this.#open.add(subscription),
        (error: unknown) => observer.error(error),
      );
      return () => {
        this.#shared.delete(key);
        subscribing.then((subscription) => {
          this.#open.delete(subscription);
          return subscription.close();
        }).catch(() => undefined);
      };
    }).pipe(takeUntil(this.#ended), share());
    this.#shared.set(key, made);
    return made;
  }
}
