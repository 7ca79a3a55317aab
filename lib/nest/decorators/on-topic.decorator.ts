/** `@OnTopic`, `@OnRequest` and `@TopicPrefix`: handlers whose topics have named parameters. */
import { EventPattern, MessagePattern } from '@nestjs/microservices';
import type { HandlerOptions } from '../options.js';
import { DEFAULT_NAME, defaultTransportIdOf } from '../options.js';
import { joinTopic, parseTemplate } from '../topic-template.js';

export interface OnTopicOptions extends HandlerOptions {
  /** Name of the broker, when the application has several. */
  readonly broker?: string;
}

interface Mapping {
  readonly templates: readonly string[];
  readonly options: OnTopicOptions;
  readonly kind: 'event' | 'request';
}

/** What a method was decorated with, before any prefix. */
const MAPPING = Symbol.for('nidomq:mapping');

/**
 * Handles events: messages that nobody waits for an answer to.
 *
 *     @OnTopic(':habitacion/temperatura', { qos: 1 })
 */
export function OnTopic(
  template: string | readonly string[],
  options: OnTopicOptions = {},
): MethodDecorator {
  return decorateMethod({ templates: [template].flat(), options, kind: 'event' });
}

/** Handles requests: what the method returns is the reply. */
export function OnRequest(
  template: string | readonly string[],
  options: OnTopicOptions = {},
): MethodDecorator {
  return decorateMethod({ templates: [template].flat(), options, kind: 'request' });
}

/** In front of the topics of all `@OnTopic` and `@OnRequest` of a class; may hold parameters. */
export function TopicPrefix(prefix: string): ClassDecorator {
  return (target) => {
    const prototype = target.prototype as object;
    for (const name of methodNames(prototype)) {
      const method = (prototype as Record<string, unknown>)[name] as object;
      const mapping = Reflect.getMetadata(MAPPING, method) as Mapping | undefined;
      if (mapping === undefined) continue;
      const own = Object.hasOwn(prototype, name) ? method : inherit(prototype, name, method);
      applyPattern(own, mapping, prefix);
    }
  };
}

function decorateMethod(mapping: Mapping): MethodDecorator {
  return (_target, _key, descriptor) => {
    const method = descriptor.value as object;
    Reflect.defineMetadata(MAPPING, mapping, method);
    applyPattern(method, mapping, '');
  };
}

/** What `@OnTopic` or `@OnRequest` of a method was given; undefined when it has neither. */
export function handlerOptionsOf(method: object): OnTopicOptions | undefined {
  return (Reflect.getMetadata(MAPPING, method) as Mapping | undefined)?.options;
}

/** Says to Nest what `@EventPattern` or `@MessagePattern` would say. */
function applyPattern(method: object, mapping: Mapping, prefix: string): void {
  const { kind, options, templates } = mapping;
  const { broker = DEFAULT_NAME, ...extras } = options;
  const parsed = templates.map((template) => parseTemplate(joinTopic(prefix, template)));
  const transport = defaultTransportIdOf(broker);
  const filters = parsed.map(({ filter }) => filter);
  const withLevels = {
    ...extras,
    topicLevelsByPattern: new Map(parsed.map(({ filter, levels }) => [filter, levels])),
  };
  // Nest's own decorators write the metadata: its keys are its own business.
  const decorate =
    kind === 'event'
      ? EventPattern<string[]>(filters, transport, withLevels)
      : MessagePattern<string[]>(filters, transport, withLevels);
  decorate({}, '', { value: method });
}

/** A method of a base class gets a copy here, so that other subclasses keep their prefix. */
function inherit(prototype: object, name: string, method: object): object {
  const inherited = method as (...args: unknown[]) => unknown;
  const copy = {
    [name](this: unknown, ...args: unknown[]): unknown {
      return Reflect.apply(inherited, this, args);
    },
  }[name];
  for (const key of Reflect.getMetadataKeys(method) as unknown[]) {
    Reflect.defineMetadata(key, Reflect.getMetadata(key, method), copy);
  }
  Object.defineProperty(prototype, name, { value: copy, writable: true, configurable: true });
  return copy;
}

function methodNames(prototype: object): string[] {
  const names = new Set<string>();
  for (let at = prototype; at !== Object.prototype; at = Object.getPrototypeOf(at) as object) {
    for (const name of Object.getOwnPropertyNames(at)) {
      const { value } = Object.getOwnPropertyDescriptor(at, name)! as { value?: unknown };
      if (name !== 'constructor' && typeof value === 'function') names.add(name);
    }
  }
  return [...names];
}
