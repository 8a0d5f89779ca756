# SPDX-License-Identifier: GPL-3.0-or-later
# What Perl's Mail::DKIM and Mail::AuthenticationResults make of a message on standard input (CR LF line ends).
#   arc PORT                              the status of its chain, and why
#   dkim PORT                             the result of each signature, from the top
#   seal KEYFILE DOMAIN SELECTOR STATUS   the three fields of another set
#   authres                               the first Authentication-Results: the name, and on lines of their own each
#                                         method=result, and behind a tab its properties
use strict;
use warnings;

use Mail::AuthenticationResults::Parser;
use Mail::DKIM::ARC::Signer;
use Mail::DKIM::ARC::Verifier;
use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;
use Net::DNS::Resolver;

my ($task, @arguments) = @ARGV;
binmode STDIN;
binmode STDOUT;
my $message = do { local $/; <STDIN> };

sub ask_at {
    my ($port) = @_;
    Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => ['127.0.0.1'], port => $port, recurse => 1));
}

sub shown {
    my ($reader) = @_;
    $reader->PRINT($message);
    $reader->CLOSE;
    return $reader;
}

if ($task eq 'arc') {
    ask_at(@arguments);
    my $verifier = shown(Mail::DKIM::ARC::Verifier->new);
    print $verifier->result, "\n", $verifier->result_detail, "\n";
}
elsif ($task eq 'dkim') {
    ask_at(@arguments);
    print $_->result, "\n" for shown(Mail::DKIM::Verifier->new)->signatures;
}
elsif ($task eq 'seal') {
    my ($key, $domain, $selector, $status) = @arguments;
    my $signer = shown(Mail::DKIM::ARC::Signer->new(
        Algorithm => 'rsa-sha256', Chain => $status, Domain => $domain, SrvId => 'mx.example.org',
        Selector => $selector, KeyFile => $key,
    ));
    print "$_\r\n" for reverse $signer->as_strings;
}
elsif ($task eq 'authres') {
    my ($value) = $message =~ /^Authentication-Results: ([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)/m or die "no such field\n";
    my $header = Mail::AuthenticationResults::Parser->new->parse($value);
    print $header->value->value, "\n";
    for my $result (grep { $_->isa('Mail::AuthenticationResults::Header::Entry') } @{ $header->children }) {
        print $result->key, '=', $result->value;
        for my $property (grep { $_->isa('Mail::AuthenticationResults::Header::SubEntry') } @{ $result->children }) {
            print "\t", $property->key, '=', $property->value;
        }
        print "\n";
    }
}
else {
    die "no such task: $task\n";
}
