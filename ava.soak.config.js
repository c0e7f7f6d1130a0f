import config from './ava.config.js';

export default { ...config, files: ['test/soak/**/*.test.ts'], require: [], timeout: '30m', concurrency: 1 };
