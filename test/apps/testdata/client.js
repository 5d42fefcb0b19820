// URL PAGE: gets the page 100 times, 10 at once.
const fs = require('fs'), http = require('http');
const want = fs.readFileSync(process.argv[3]).toString(), agent = new http.Agent({keepAlive: true, maxSockets: 10});
let left = 100;

for (let i = 0; i < 100; i++) {
	http.get(process.argv[2], {agent: i % 2 ? agent : false}, (response) => {
		let text = '';
		response.on('data', (d) => { text += d; });
		response.on('end', () => {
			if (text !== want) throw new Error('another page');
			if (--left === 0) {
				console.log('100 pages');
				agent.destroy();
			}
		});
	});
}
