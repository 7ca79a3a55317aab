import { Inject } from '@nestjs/common';
import { getBrokerToken, getClientToken, getStrategyToken } from '../tokens.js';

/** Injects the NidoClient of `forFeature([{ name }])`, or the one of the broker without a name. */
export function InjectNido(name?: string): ParameterDecorator & PropertyDecorator {
  return Inject(getClientToken(name));
}

/** Injects the hosted Broker. */
export function InjectBroker(name?: string): ParameterDecorator & PropertyDecorator {
  return Inject(getBrokerToken(name));
}

/** Injects the NidoStrategy. */
export function InjectStrategy(name?: string): ParameterDecorator & PropertyDecorator {
  return Inject(getStrategyToken(name));
}
