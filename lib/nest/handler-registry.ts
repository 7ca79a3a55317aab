/**
 * All handlers of a strategy. Unlike Nest's own map it keeps every one of them: several handlers on
 * one pattern, events and requests side by side.
 */
import type { MessageHandler } from '@nestjs/microservices';
import { TopicMatcher } from '../core/topic-matcher.js';
import type { Codec } from './codec.js';
import { NidoNestError } from './errors.js';
import { checkHandlerOptions } from './option-checks.js';
import type { HandlerOptions, Settings } from './options.js';

/** Extras of a pattern: our handler options, their stock names, and what our decorators add. */
export interface PatternExtras extends HandlerOptions {
  readonly nl?: boolean;
  readonly rap?: boolean;
  readonly rh?: 0 | 1 | 2;
  /** Of our decorators: parameters of the topic, by pattern. */
  readonly topicLevelsByPattern?: ReadonlyMap<string, ReadonlyMap<string, number>>;
}

export type ResolvedHandlerOptions = HandlerOptions &
  Required<Pick<HandlerOptions, 'ack' | 'codec' | 'concurrency' | 'onError' | 'timeoutMs'>>;

/** One pattern of one handler method. */
export interface HandlerEntry {
  readonly kind: 'event' | 'request';
  /** As subscribed, with `$share/` when the pattern has it. */
  readonly pattern: string;
  /** Without share prefix. */
  readonly filter: string;
  readonly callback: MessageHandler;
  readonly options: ResolvedHandlerOptions;
  readonly topicLevels: ReadonlyMap<string, number>;
  /** The patterns of the same method, this one included. */
  readonly siblings: HandlerEntry[];
}

const NO_LEVELS: ReadonlyMap<string, number> = new Map();
const REPLIER_CACHE_MAX = 4_096;

export class HandlerRegistry {
  readonly entries: HandlerEntry[] = [];
  readonly #settings: Settings;
  #matcher: TopicMatcher | undefined;
  readonly #byId = new Map<number, HandlerEntry>();
  readonly #repliers = new Map<string, HandlerEntry | undefined>();

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  add(
    pattern: unknown,
    callback: MessageHandler,
    kind: HandlerEntry['kind'],
    extras: PatternExtras,
  ): void {
    if (typeof pattern !== 'string' || pattern === '') {
      throw new NidoNestError(
        'NIDO_NEST_TOPIC_INVALID',
        `a handler has the pattern ${JSON.stringify(pattern)}: it has to be a Topic Filter, or ` +
          'an object for services that talk to each other',
      );
    }
    this.#forget();
    this.entries.push({
      kind,
      pattern,
      filter: withoutShare(pattern),
      callback,
      options: this.#options(extras, `handler of ${pattern}`),
      topicLevels: extras.topicLevelsByPattern?.get(pattern) ?? NO_LEVELS,
      siblings: [],
    });
    this.#group(this.entries[this.entries.length - 1], extras);
  }

  /** Entries whose filter matches. */
  match(topicName: string): HandlerEntry[] {
    const ids = this.#index().match(topicName);
    return ids.map((id) => this.#byId.get(id)!);
  }

  /**
   * Who answers a request to `topicName`: the request handler with the most specific filter, the
   * first registered among equals; undefined when no request handler matches.
   */
  replierOf(topicName: string): HandlerEntry | undefined {
    if (this.#repliers.has(topicName)) return this.#repliers.get(topicName);
    const best = this.#mostSpecific(topicName, 'request');
    if (this.#repliers.size >= REPLIER_CACHE_MAX) this.#repliers.clear();
    this.#repliers.set(topicName, best);
    return best;
  }

  /** The most specific event handler, which speaks for all when nobody can answer. */
  spokesmanOf(topicName: string): HandlerEntry | undefined {
    return this.#mostSpecific(topicName, 'event');
  }

  /** Whether a message comes to the same method by an earlier pattern, too. */
  comesEarlier(entry: HandlerEntry, topicName: string): boolean {
    if (entry.siblings.length < 2 || isShared(entry)) return false;
    const matching = this.match(topicName);
    const first = entry.siblings.find((one) => !isShared(one) && matching.includes(one));
    return first !== entry;
  }

  codecs(): Codec[] {
    return [...new Set(this.entries.map(({ options }) => options.codec))];
  }

  close(): void {
    this.#forget();
  }

  #mostSpecific(topicName: string, kind: HandlerEntry['kind']): HandlerEntry | undefined {
    let best: HandlerEntry | undefined;
    for (const entry of this.match(topicName)) {
      if (entry.kind !== kind) continue;
      if (best === undefined || this.#precedes(entry, best)) best = entry;
    }
    return best;
  }

  #precedes(one: HandlerEntry, other: HandlerEntry): boolean {
    const order = compareFilters(one.filter, other.filter);
    return order < 0 || (order === 0 && this.entries.indexOf(one) < this.entries.indexOf(other));
  }

  #index(): TopicMatcher {
    if (this.#matcher !== undefined) return this.#matcher;
    const matcher = new TopicMatcher();
    for (const entry of this.entries) this.#byId.set(matcher.add(entry.filter), entry);
    this.#matcher = matcher;
    return matcher;
  }

  #forget(): void {
    this.#matcher?.free();
    this.#matcher = undefined;
    this.#byId.clear();
    this.#repliers.clear();
  }

  #options(extras: PatternExtras, where: string): ResolvedHandlerOptions {
    const defaults = this.#settings.handler;
    const own: HandlerOptions = {
      ...extras,
      noLocal: extras.noLocal ?? extras.nl,
      retainAsPublished: extras.retainAsPublished ?? extras.rap,
      retainHandling: extras.retainHandling ?? extras.rh,
    };
    checkHandlerOptions(own, where);
    const given = Object.entries(own).filter(([, value]) => value !== undefined);
    return { ...defaults, ...Object.fromEntries(given) } as ResolvedHandlerOptions;
  }

  /**
   * Nest registers the patterns of one method one after the other, with one extras object. The same
   * object with a pattern seen before is the same method inherited by another controller.
   */
  readonly #groups = new WeakMap<object, HandlerEntry[]>();
  #group(entry: HandlerEntry, extras: object): void {
    const open = this.#groups.get(extras);
    const seen = open?.some(({ pattern }) => pattern === entry.pattern) ?? true;
    const group = seen ? [] : open!;
    if (seen) this.#groups.set(extras, group);
    group.push(entry);
    (entry as { siblings: HandlerEntry[] }).siblings = group;
  }
}

function isShared(entry: HandlerEntry): boolean {
  return entry.options.share !== undefined || entry.pattern.startsWith('$share/');
}

export function withoutShare(pattern: string): string {
  return pattern.startsWith('$share/') ? pattern.split('/').slice(2).join('/') : pattern;
}

/** Negative when `one` is more specific: a name before `+` before `#`, level by level. */
export function compareFilters(one: string, other: string): number {
  const left = one.split('/');
  const right = other.split('/');
  for (let level = 0; level < Math.max(left.length, right.length); level += 1) {
    const difference = rank(left[level]) - rank(right[level]);
    if (difference !== 0) return difference;
  }
  return 0;
}

function rank(level: string | undefined): number {
  if (level === '#') return 3;
  if (level === '+') return 2;
  return level === undefined ? 1 : 0;
}
