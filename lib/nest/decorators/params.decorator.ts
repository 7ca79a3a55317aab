/** Parameter decorators: what of a message goes into which parameter. Pipes work as everywhere. */
import { createParamDecorator } from '@nestjs/common';
import type { ExecutionContext, PipeTransform, Type } from '@nestjs/common';
import type { NidoContext } from '../nido.context.js';
import type { PublishPacket } from '../packet.js';

type Pipe = PipeTransform | Type<PipeTransform>;

function contextOf(context: ExecutionContext): NidoContext {
  return context.switchToRpc().getContext<NidoContext>();
}

const topicParam = createParamDecorator((name: string | undefined, context: ExecutionContext) => {
  const { params } = contextOf(context);
  return name === undefined ? params : params[name];
});

const userProperties = createParamDecorator(
  (name: string | undefined, context: ExecutionContext) => {
    const all = contextOf(context).userProperties;
    return name === undefined ? all : all[name];
  },
);

const packet = createParamDecorator(
  (field: keyof PublishPacket | undefined, context: ExecutionContext): unknown => {
    const whole = contextOf(context).getPacket() as PublishPacket;
    return field === undefined ? whole : whole[field];
  },
);

const identity = createParamDecorator(
  (_data: unknown, context: ExecutionContext) => contextOf(context).identity,
);

/**
 * A parameter of the topic, or all of them:
 *
 *     set(@TopicParam('n', ParseIntPipe) n: number, @TopicParam() all: TopicParams<':n/set'>)
 */
export function TopicParam(name?: string | Pipe, ...pipes: Pipe[]): ParameterDecorator {
  return withPipes(topicParam, name, pipes);
}

/** A user property of MQTT 5 by name, or all of them. */
export function MqttUserProperties(name?: string | Pipe, ...pipes: Pipe[]): ParameterDecorator {
  return withPipes(userProperties, name, pipes);
}

/** The packet in the shape of mqtt-packet, or one of its fields. */
export function MqttPacket(field?: keyof PublishPacket): ParameterDecorator {
  return field === undefined ? packet() : packet(field);
}

/** Hosted: who published the message. */
export function MqttIdentity(): ParameterDecorator {
  return identity();
}

function withPipes(
  decorator: (...dataOrPipes: (string | Pipe)[]) => ParameterDecorator,
  nameOrPipe: string | Pipe | undefined,
  pipes: readonly Pipe[],
): ParameterDecorator {
  return nameOrPipe === undefined ? decorator(...pipes) : decorator(nameOrPipe, ...pipes);
}
