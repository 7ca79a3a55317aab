import { Controller, ParseIntPipe } from '@nestjs/common';
import { Payload, RpcException } from '@nestjs/microservices';
import { OnRequest, TopicParam, TopicPrefix } from 'nidomq/nest';
import { range } from 'rxjs';
import type { Observable } from 'rxjs';

/** What a method returns is the reply; where it goes, the request says. */
@Controller()
@TopicPrefix('calc')
export class CalculatorController {
  @OnRequest('sum')
  sum(@Payload() numbers: number[]): number {
    return numbers.reduce((sum, one) => sum + one, 0);
  }

  /** An Observable replies with each of its values. */
  @OnRequest('count/:to')
  count(@TopicParam('to', ParseIntPipe) to: number): Observable<number> {
    return range(1, to);
  }

  /** What is thrown is a reply too: the asker's promise rejects with it. */
  @OnRequest('divide')
  divide(@Payload() [dividend, divisor]: [number, number]): number {
    if (divisor === 0) throw new RpcException('division by zero');
    return dividend / divisor;
  }
}
