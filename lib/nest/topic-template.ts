/**
 * Topic templates: Topic Filters whose single-level wildcards have names.
 *
 *     casa/:habitacion/temperatura   is the filter   casa/+/temperatura
 *
 * Only `@OnTopic`, `@OnRequest`, `topic` and `observe` read them; in `@MessagePattern` and
 * `@EventPattern` a `:name` is a level like any other.
 */
import { NidoNestError } from './errors.js';

type LevelName<Level extends string> = Level extends `:${infer Name}` ? Name : never;
/** The names in a template: `'habitacion' | 'n'` for `:habitacion/luz/:n/set`. */
export type TopicParamNames<Template extends string> =
  Template extends `${infer Level}/${infer Rest}`
    ? LevelName<Level> | TopicParamNames<Rest>
    : LevelName<Template>;
/** The parameters of a topic that matches the template. */
export type TopicParams<Template extends string> = {
  readonly [Name in TopicParamNames<Template>]: string;
};

export interface ParsedTemplate {
  readonly filter: string;
  /** Name -> number of the level, counted without a share prefix. */
  readonly levels: ReadonlyMap<string, number>;
}

const NAME = /^:[A-Za-z_][A-Za-z0-9_]*$/;
const NO_LEVELS: ReadonlyMap<string, number> = new Map();
const SHARE_LEVELS = 2;

export function parseTemplate(template: string): ParsedTemplate {
  if (!template.includes(':')) return { filter: template, levels: NO_LEVELS };
  const levels = new Map<string, number>();
  const offset = template.startsWith('$share/') ? SHARE_LEVELS : 0;
  const filter = template.split('/').map((level, at) => {
    if (!level.startsWith(':')) return level;
    const name = level.slice(1);
    if (!NAME.test(level) || levels.has(name)) {
      throw new NidoNestError(
        'NIDO_NEST_TOPIC_INVALID',
        `topic ${JSON.stringify(template)}: ${JSON.stringify(level)} is no parameter. A ` +
          'parameter is a colon and a name of letters, digits and _, each name once',
      );
    }
    levels.set(name, at - offset);
    return '+';
  });
  return { filter: filter.join('/'), levels };
}

export function joinTopic(prefix: string, topic: string): string {
  if (prefix === '') return topic;
  const share = /^\$share\/[^/]+\//.exec(topic)?.[0] ?? '';
  const head = prefix.endsWith('/') ? prefix : `${prefix}/`;
  return share + head + topic.slice(share.length);
}

export function paramsOf(
  topicName: string,
  levels: ReadonlyMap<string, number>,
): Record<string, string> {
  const params: Record<string, string> = {};
  if (levels.size === 0) return params;
  const parts = topicName.split('/');
  for (const [name, at] of levels) params[name] = parts[at];
  return params;
}

/**
 * Makes a Topic Name out of a template: `topic('casa/:room/set', { room: 'sala' })`. Throws when a
 * value would leave its level.
 */
export function topic<Template extends string>(
  template: Template,
  params: { readonly [Name in TopicParamNames<Template>]: string | number },
): string {
  return template
    .split('/')
    .map((level) => (NAME.test(level) ? valueOf(template, level.slice(1), params) : level))
    .join('/');
}

function valueOf(
  template: string,
  name: string,
  params: Readonly<Record<string, string | number>>,
): string {
  const value = Object.hasOwn(params, name) ? String(params[name]) : '';
  if (value !== '' && !/[/+#\0]/.test(value)) return value;
  throw new NidoNestError(
    'NIDO_NEST_TOPIC_INVALID',
    `topic ${JSON.stringify(template)}: ${name} is ${JSON.stringify(value)}; it has to be one ` +
      'topic level, so it is not empty and holds no /, + or #',
  );
}
