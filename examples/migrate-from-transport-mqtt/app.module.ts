import { Controller, Module } from '@nestjs/common';
import {
  Ctx, EventPattern, MessagePattern, MqttContext, Payload, RpcException, Transport,
} from '@nestjs/microservices';
import { from } from 'rxjs';
import type { Observable } from 'rxjs';

/** Handlers as they were written for the stock transport. Not a letter changes. */
@Controller()
export class HouseController {
  @MessagePattern({ cmd: 'sum' })
  sum(@Payload() numbers: number[]): number {
    return numbers.reduce((sum, one) => sum + one, 0);
  }

  @MessagePattern('casa/habitaciones')
  rooms(): Observable<string> {
    return from(['sala', 'cocina', 'entrada']);
  }

  @MessagePattern('casa/fail')
  fail(): never {
    throw new RpcException('as it should');
  }

  @EventPattern<string>('casa/+/temperatura', Transport.MQTT)
  temperature(@Payload() celsius: number, @Ctx() context: MqttContext): void {
    console.log(`  handler: ${context.getTopic()} = ${celsius}`);
  }
}

@Module({ controllers: [HouseController] })
export class AppModule {}
