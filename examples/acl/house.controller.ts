import { Controller, Injectable, UseGuards } from '@nestjs/common';
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import {
  MqttIdentity, MqttReasonException, NidoContext, OnTopic, TopicParam, TopicPrefix,
} from 'nidomq/nest';
import type { Identity } from 'nidomq/nest';

const NOT_AUTHORIZED = 0x87;

/** A guard as everywhere in Nest; the context knows who published the message. */
@Injectable()
export class OwnerGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const { identity } = context.switchToRpc().getContext<NidoContext>();
    if (identity?.roles?.includes('owner')) return true;
    throw new MqttReasonException(NOT_AUTHORIZED, 'the light is for the owner');
  }
}

@Controller()
@TopicPrefix('casa')
export class HouseController {
  @OnTopic(':room/temperatura')
  temperature(
    @TopicParam('room') room: string, @Payload() celsius: number, @MqttIdentity() who: Identity,
  ): void {
    console.log(`handler: ${who.username} says that ${room} has ${celsius} degrees`);
  }

  @UseGuards(OwnerGuard)
  @OnTopic(':room/luz/set')
  light(@TopicParam('room') room: string, @Payload() command: string): void {
    console.log(`handler: light of ${room} is ${command}`);
  }
}
