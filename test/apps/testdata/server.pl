# PORT PAGE: serves the page, by a process for each connection.
use strict;
use warnings;
use HTTP::Daemon;
use HTTP::Response;

my ($port, $file) = @ARGV;
open my $in, '<', $file or die $!;
my $page = do { local $/; <$in> };
my $daemon = HTTP::Daemon->new(LocalAddr => '0.0.0.0', LocalPort => $port, Listen => 128, ReuseAddr => 1) or die $!;
$SIG{CHLD} = 'IGNORE';
while (1) {
	my $connection = $daemon->accept or next;
	if (fork == 0) {
		$daemon->close;
		while (my $request = $connection->get_request) {
			$connection->send_response(HTTP::Response->new(200, 'OK', undef, $page));
		}
		exit;
	}
	$connection->close;
}
