import { availableParallelism } from 'node:os';

export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '^.+\\.ts$': ['@swc/jest'] },
  moduleNameMapper: {
    '^nidomq$': '<rootDir>/lib/index.ts',
    '^nidomq/client$': '<rootDir>/lib/client/index.ts',
    '^nidomq/nest$': '<rootDir>/lib/nest/index.ts',
    '^nidomq/testing$': '<rootDir>/lib/testing/index.ts',
    '^nidomq/terminus$': '<rootDir>/lib/nest/terminus/index.ts',
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
  coverageProvider: 'v8',
  // Modules of a test file are never collected in the process that ran it: workers that have grown
  // are replaced. One worker would be the process itself.
  maxWorkers: Math.max(2, availableParallelism() - 1),
  workerIdleMemoryLimit: '600MB',
  testTimeout: 20_000,
};
