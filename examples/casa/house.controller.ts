/**
 * The handlers of the house. Nothing here knows whether the application hosts the broker or joins
 * one: examples/join runs this very file against a broker somewhere else.
 */
import { Controller } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { NidoClient, NidoContext, OnTopic, TopicParam, TopicPrefix, text } from 'nidomq/nest';
import { say } from './report.js';

const COMFORTABLE_CELSIUS = 24;

interface Measurement {
  readonly celsius: number;
}

@Controller()
@TopicPrefix('casa')
export class HouseController {
  constructor(private readonly client: NidoClient) {}

  /** Text as it came. Every handler that matches a message runs, this one and the next. */
  @OnTopic('sala/+', { codec: text() })
  livingRoom(@Payload() payload: string, @Ctx() context: NidoContext): void {
    say('handler casa/sala/+', `${context.getTopic()} = ${payload}`);
  }

  @OnTopic(':room/temperatura')
  temperature(@TopicParam('room') room: string, @Payload() { celsius }: Measurement): void {
    if (celsius > COMFORTABLE_CELSIUS) say('handler temperatura', `${room} is too warm: ${celsius}`);
  }

  @OnTopic(':room/termometro')
  thermometer(@Payload() status: string, @Ctx() context: NidoContext): void {
    if (status === 'perdido') say('handler termometro', `will of ${context.getTopic()}: lost`);
  }

  /** The door gets its PUBACK when this is done: after the lamp has answered. */
  @OnTopic('entrada/puerta')
  async door(@Payload() state: 'abierta' | 'cerrada'): Promise<void> {
    say('handler puerta', `the door is ${state}: switching the light`);
    const command = state === 'abierta' ? 'on' : 'off';
    const answer = await this.client.request('casa/sala/luz/set', command, { qos: 1 });
    say('handler puerta', `the lamp answered ${JSON.stringify(answer)}`);
  }
}
